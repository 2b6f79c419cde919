//! Logs, traces and metrics, set up once per process.

mod process;

use std::convert::Infallible;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use protocol::Timestamp;
use serde::{Deserialize, Serialize};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::worker::{Next, Worker};

/// Longest wait for the collector, for one export and for the last one at exit.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bounds of every histogram of seconds: from a hop inside the machine to the longest answers.
const SECONDS: [f64; 18] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
    300.0,
];

/// How much is told, and to whom.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Shape of log lines on standard error.
    pub log_format: LogFormat,
    /// What is logged: a level, or `target=level` pairs separated by commas.
    pub log_filter: String,
    /// Base address of an OpenTelemetry collector over HTTP, such as `http://127.0.0.1:4318`. Unset: no traces
    /// are sent. Plain HTTP only: the collector belongs on the same machine or network.
    pub otlp_endpoint: Option<String>,
    /// What is traced, in the form of `log_filter`.
    pub trace_filter: String,
    /// Share of traces that are kept, from 0 to 1.
    pub trace_ratio: f64,
    /// Name under which the collector files this process.
    pub service_name: String,
}

/// Shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Text,
            log_filter: "info".to_owned(),
            otlp_endpoint: None,
            // Spans of the request path are below the log's level: they cost only who exports them.
            trace_filter: "info,api=debug".to_owned(),
            trace_ratio: 1.0,
            service_name: "steelyard".to_owned(),
        }
    }
}

/// Why telemetry cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A filter that cannot be read.
    #[error("{key} is not a level or a list of target=level")]
    Filter {
        /// Which setting.
        key: &'static str,
        /// What is wrong.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Set up twice.
    #[error("logging is set up already")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
    /// An address the exporter cannot speak to.
    #[error("otlp_endpoint must begin with http://: traces are sent without TLS, to a collector nearby")]
    Endpoint,
    /// The exporter cannot be made.
    #[error("traces cannot be sent to {endpoint}: {problem}")]
    Exporter {
        /// Where to.
        endpoint: String,
        /// Why not.
        problem: String,
    },
}

/// What was set up. Keep it until the end and call [`Telemetry::shutdown`] then.
#[derive(Debug)]
pub struct Telemetry {
    /// What `/metrics` prints.
    pub metrics: Metrics,
    traces: Option<SdkTracerProvider>,
}

/// Sets logs, traces and metrics up. Call it once, first thing in the process.
///
/// # Errors
/// [`Error`].
pub fn init(config: &TelemetryConfig) -> Result<Telemetry, Error> {
    let metrics = metrics_handle();
    let traces = config.otlp_endpoint.as_deref().map(|endpoint| exporter(config, endpoint)).transpose()?;
    let traces_layer = match &traces {
        Some(provider) => {
            let filter = filter("telemetry.trace_filter", &config.trace_filter)?;
            let tracer = provider.tracer("steelyard");
            Some(tracing_opentelemetry::layer().with_tracer(tracer).with_filter(filter).boxed())
        }
        None => None,
    };
    tracing_subscriber::registry().with(traces_layer).with(log_layer(config)?).try_init()?;
    Ok(Telemetry { metrics, traces })
}

fn log_layer<S>(config: &TelemetryConfig) -> Result<Box<dyn Layer<S> + Send + Sync>, Error>
where
    S: tracing::Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
{
    let filter = filter("telemetry.log_filter", &config.log_filter)?;
    // Standard output belongs to what a command answers.
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    Ok(match config.log_format {
        LogFormat::Text => layer.with_target(false).with_filter(filter).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_filter(filter).boxed(),
    })
}

fn filter(key: &'static str, text: &str) -> Result<EnvFilter, Error> {
    EnvFilter::builder().parse(text).map_err(|source| Error::Filter { key, source })
}

fn exporter(config: &TelemetryConfig, endpoint: &str) -> Result<SdkTracerProvider, Error> {
    if !endpoint.starts_with("http://") {
        return Err(Error::Endpoint);
    }
    let address = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    // Its client blocks, and refuses to be made on a thread that runs async tasks.
    let build = std::thread::spawn(move || {
        SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(address)
            .with_timeout(EXPORT_TIMEOUT)
            .build()
    });
    let failed = |problem: String| Error::Exporter { endpoint: endpoint.to_owned(), problem };
    let exporter = build.join().map_err(|_| failed("its thread panicked".to_owned()))?;
    let exporter = exporter.map_err(|error| failed(error.to_string()))?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.trace_ratio))))
        .with_resource(Resource::builder().with_service_name(config.service_name.clone()).build())
        .build())
}

impl Telemetry {
    /// Sends what is left to the collector. Blocks for at most five seconds.
    pub fn shutdown(self) {
        if let Some(Err(error)) = self.traces.map(|traces| traces.shutdown_with_timeout(EXPORT_TIMEOUT)) {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Reads the process's metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics(PrometheusHandle);

/// The process's metrics; the first call installs their recorder, so tests may call it too.
///
/// # Panics
/// When another recorder was installed by someone else: our numbers would be nowhere.
#[must_use]
pub fn metrics_handle() -> Metrics {
    static HANDLE: OnceLock<Metrics> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let builder = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
                .expect("the list of bounds is not empty");
            let handle = builder.install_recorder().expect("nobody else installs a recorder");
            process::describe();
            Metrics(handle)
        })
        .clone()
}

impl Metrics {
    /// All metrics in Prometheus' text form.
    #[must_use]
    pub fn render(&self) -> String {
        process::record();
        self.0.render()
    }

    /// Keeps memory bounded where nobody asks for the metrics; run it as a worker.
    #[must_use]
    pub fn upkeep(&self) -> Upkeep {
        Upkeep(self.clone())
    }
}

/// Folds recorded samples into their histograms now and then.
#[derive(Debug)]
pub struct Upkeep(Metrics);

impl Worker for Upkeep {
    type Error = Infallible;

    fn name(&self) -> &'static str {
        "platform.metrics_upkeep"
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(5)
    }

    async fn tick(&mut self, _now: Timestamp) -> Result<Next, Infallible> {
        self.0.0.run_upkeep();
        Ok(Next::Wait)
    }
}
