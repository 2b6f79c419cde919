//! Against a service on loopback that keeps one key and speaks as KMS does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_kms::config::{Credentials, SharedHttpClient};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secp256k1::ecdsa::Signature as Der;
use secp256k1::{Message, SECP256K1, SecretKey};
use serde_json::{Value, json};

use super::*;
use crate::Key;
use crate::transaction::{Fees, Transaction};

/// What precedes an uncompressed point of secp256k1 in a `SubjectPublicKeyInfo` (RFC 5480).
const SPKI: [u8; 23] = [
    0x30, 0x56, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x0a, 0x03, 0x42, 0x00,
];
const KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
/// Half the curve's order: the service's `s` is above it as often as below, a chain takes only what is below.
const HALF: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x5d, 0x57, 0x6e,
    0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

struct Service {
    secret: SecretKey,
    asked: AtomicU32,
}

/// Answers to one request, as the service's JSON protocol has it.
async fn answer(State(service): State<Arc<Service>>, headers: HeaderMap, body: Bytes) -> (StatusCode, Json<Value>) {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    assert!(header("authorization").contains("/eu-central-1/kms/aws4_request"), "{headers:?}");
    if body["KeyId"] != KEY {
        return (StatusCode::BAD_REQUEST, Json(json!({"__type": "NotFoundException", "message": "no such key"})));
    }
    service.asked.fetch_add(1, Ordering::SeqCst);
    let answer = match header("x-amz-target").as_str() {
        "TrentService.GetPublicKey" => {
            let point = service.secret.public_key(SECP256K1).serialize_uncompressed();
            json!({"KeyId": KEY, "PublicKey": STANDARD.encode([SPKI.as_slice(), &point].concat())})
        }
        "TrentService.Sign" => {
            assert_eq!((&body["MessageType"], &body["SigningAlgorithm"]), (&json!("DIGEST"), &json!("ECDSA_SHA_256")));
            let digest = STANDARD.decode(body["Message"].as_str().unwrap()).unwrap();
            json!({"KeyId": KEY, "Signature": STANDARD.encode(high(&service.secret, digest.try_into().unwrap()))})
        }
        other => panic!("{other} was not to be asked"),
    };
    (StatusCode::OK, Json(answer))
}

/// A signature whose `s` is above half the order, which is the harder half of what the service may answer.
fn high(secret: &SecretKey, digest: [u8; 32]) -> Vec<u8> {
    let low = SECP256K1.sign_ecdsa(Message::from_digest(digest), secret).serialize_compact();
    let s = SecretKey::from_byte_array(low[32..].try_into().unwrap()).unwrap().negate().secret_bytes();
    assert!(s > HALF);
    Der::from_compact(&[&low[..32], &s].concat()).unwrap().serialize_der().to_vec()
}

async fn service() -> (Arc<Service>, String) {
    let service = Arc::new(Service { secret: SecretKey::from_byte_array([7; 32]).unwrap(), asked: AtomicU32::new(0) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = axum::Router::new().route("/", post(answer)).with_state(Arc::clone(&service));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (service, url)
}

fn kept(key: &str, account: Address, url: &str) -> Kept {
    let http: SharedHttpClient = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("AKIDEXAMPLE", "a secret of nobody", None, None, "test"))
        .endpoint_url(url)
        .http_client(http)
        .build();
    let client = OnceCell::new_with(Some(Client::from_conf(config)));
    Kept { client, ..Kept::new(key.to_owned(), account, None) }
}

fn account(service: &Service) -> Address {
    Address::from_raw_public_key(&service.secret.public_key(SECP256K1).serialize_uncompressed()[1..])
}

#[tokio::test]
async fn a_key_in_the_service_signs_transactions_that_a_chain_takes() {
    let (service, url) = service().await;
    let key = Key(Arc::new(kept(KEY, account(&service), &url)));
    assert_eq!(service.asked.load(Ordering::SeqCst), 0, "nothing is asked before the first signature");
    let call = Transaction {
        chain_id: 31_337,
        nonce: 0,
        gas_limit: 21_000,
        fees: Fees { max: 2, tip: 1 },
        to: key.account(),
        input: vec![1, 2, 3],
    };
    let raw = call.sign(&key).await.unwrap();
    let envelope =
        <alloy_consensus::TxEnvelope as alloy_eips::eip2718::Decodable2718>::decode_2718(&mut &raw.bytes[..]);
    let signer = alloy_consensus::transaction::SignerRecoverable::recover_signer(&envelope.unwrap()).unwrap();
    assert_eq!(signer, account(&service));
    assert_eq!(service.asked.load(Ordering::SeqCst), 2, "the public key once, and one signature");
}

#[tokio::test]
async fn a_key_of_another_account_signs_nothing() {
    let (service, url) = service().await;
    let error = kept(KEY, Address::repeat_byte(9), &url).sign_hash(&B256::ZERO).await.unwrap_err().to_string();
    assert!(error.contains(&account(&service).to_string()) && error.contains(&Address::repeat_byte(9).to_string()));
    assert_eq!(service.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refusal_is_told_with_its_reason_and_the_keys_name() {
    let (service, url) = service().await;
    let error = kept("alias/payouts", account(&service), &url).sign_hash(&B256::ZERO).await.unwrap_err().to_string();
    assert!(error.contains("alias/payouts") && error.contains("no such key"), "{error}");
}
