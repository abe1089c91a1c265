import { useLayoutEffect } from "react";
import { useRemembered } from "./stored-setting.ts";
import { TEXTS } from "./texts.ts";

const THEMES = ["system", "dark", "light"] as const;
type Theme = (typeof THEMES)[number];

/** Dark or light, as the system has it or as chosen here. */
export function ThemeChoice() {
  const [theme, setTheme] = useRemembered<Theme>("theme", "system", isTheme);
  useLayoutEffect(() => {
    document.documentElement.dataset["theme"] = theme;
  }, [theme]);
  return (
    <select
      aria-label={TEXTS.theme.label}
      value={theme}
      onChange={({ target }) => isTheme(target.value) && setTheme(target.value)}
    >
      {THEMES.map((name) => (
        <option key={name} value={name}>
          {TEXTS.theme[name]}
        </option>
      ))}
    </select>
  );
}

function isTheme(value: unknown): value is Theme {
  return THEMES.some((theme) => theme === value);
}
