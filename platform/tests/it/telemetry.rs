use platform::telemetry::{self, LogFormat, TelemetryConfig};

#[test]
fn metrics_are_printed_with_bounds_for_seconds() {
    let handle = telemetry::metrics_handle();
    metrics::counter!("test_things_total", "kind" => "a").increment(3);
    metrics::histogram!("test_wait_seconds").record(0.003);
    let text = telemetry::metrics_handle().render();
    assert!(text.contains("test_things_total{kind=\"a\"} 3"), "{text}");
    assert!(text.contains("test_wait_seconds_bucket{le=\"0.005\"} 1"), "{text}");
    if cfg!(target_os = "linux") {
        assert!(handle.render().contains("process_resident_memory_bytes "));
    }
}

#[test]
fn a_wrong_filter_and_a_collector_behind_tls_are_refused() {
    let config = TelemetryConfig { log_filter: "info,=,x=loud".to_owned(), ..TelemetryConfig::default() };
    assert!(telemetry::init(&config).unwrap_err().to_string().contains("telemetry.log_filter"));
    let config = TelemetryConfig { otlp_endpoint: Some("https://collector".to_owned()), ..TelemetryConfig::default() };
    assert!(telemetry::init(&config).unwrap_err().to_string().contains("http://"));
}

/// The whole way: a span is made, exported in the background and arrives at a collector's address.
#[tokio::test]
async fn spans_reach_the_collector() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let collector = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = TelemetryConfig {
        otlp_endpoint: Some(format!("http://{}/", collector.local_addr().unwrap())),
        log_format: LogFormat::Json,
        log_filter: "warn".to_owned(),
        ..TelemetryConfig::default()
    };
    let telemetry = telemetry::init(&config).unwrap();
    tracing::info_span!("test.parcel.weigh", parcel = 7).in_scope(|| {});
    let sent = tokio::task::spawn_blocking(move || telemetry.shutdown());
    let (mut socket, _) = collector.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.windows(17).any(|window| window == b"test.parcel.weigh") {
        assert_ne!(socket.read_buf(&mut request).await.unwrap(), 0, "the request ended early");
    }
    assert!(request.starts_with(b"POST /v1/traces HTTP/1.1"));
    socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    sent.await.unwrap();
}
