import java.util.logging.Level;
import java.util.logging.Logger;

public class Plain {
  public static void main(String[] args) {
    Logger logger = Logger.getLogger("orchestrator.instance_manager");
    logger.warning("High memory usage detected");
    try {
      Integer.parseInt("not a number");
    } catch (NumberFormatException error) {
      logger.log(Level.SEVERE, "Message rejected", error);
    }
  }
}
