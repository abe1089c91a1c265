//! An orchestrator that logs with `tracing` to its console and to Tailgate.

use std::error::Error;
use std::time::Duration;

use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{LogExporter, RetryPolicy, WithHttpConfig};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use tracing::{error, info, warn};
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// Sends events to the gateway at `OTEL_EXPORTER_OTLP_ENDPOINT` and prints them on stderr.
/// `RUST_LOG` sets the level. Shut down the provider before the program ends: this sends the
/// records that are still queued.
fn start_logging() -> Result<SdkLoggerProvider, Box<dyn Error>> {
    // The default policy gives up after a second. A restart of the gateway takes longer.
    let retries = RetryPolicy::default()
        .with_max_retries(10)
        .with_max_delay(Duration::from_secs(5));
    let exporter = LogExporter::builder()
        .with_http()
        .with_retry_policy(retries)
        .build()?;
    let provider = SdkLoggerProvider::builder()
        .with_batch_exporter(exporter)
        .build();

    // The exporter and its HTTP client log, too. Each export of their events would cause more.
    let filter = EnvFilter::new("trace,opentelemetry=off,hyper=off,reqwest=off");
    let levels = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::registry()
        .with(levels)
        .with(OpenTelemetryTracingBridge::new(&provider).with_filter(filter))
        .with(fmt::layer().with_writer(std::io::stderr))
        .init();
    Ok(provider)
}

fn main() -> Result<(), Box<dyn Error>> {
    let logs = start_logging()?;

    info!(target: "orchestrator.instance_manager", instance_id = "abc-123", "Instance spawned");
    warn!(target: "orchestrator.instance_manager", memory_mb = 512, "High memory usage detected");
    if let Err(cause) = "not a number".parse::<u32>() {
        let cause: &dyn Error = &cause;
        error!(target: "orchestrator.instance_manager", cause, "Message rejected");
    }
    info!(
        name: "instance_spawn",
        target: "orchestrator.audit",
        instance_id = "abc-123",
        role = "general",
        "Instance abc-123 spawned"
    );

    if let Err(cause) = logs.shutdown() {
        eprintln!("Log records were lost: {cause}");
    }
    Ok(())
}
