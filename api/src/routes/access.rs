//! Every route with who may call it. Tests hold the list against the routers and against the answers.

use Access::{Anyone, Key, Node, Payer, Supplier};

use crate::keys::KeyKind;
use crate::keys::KeyKind::{Admin, Inference, Management, Provider};

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Anyone,
    /// Holders of a key of this kind.
    Key(KeyKind),
    /// Holders of an inference or a management key.
    Payer,
    /// A node, by its session.
    Node,
    /// A node, by its session, or its provider, by its key.
    Supplier,
}

/// Method, path and who may call it; paths under `/v1`, which `/api/v1` repeats, are written without it.
pub const ROUTES: &[(&str, &str, Access)] = &[
    ("POST", "/chat/completions", Key(Inference)),
    ("GET", "/models", Anyone),
    ("GET", "/models/{*id}", Anyone),
    ("GET", "/generation", Payer),
    ("GET", "/credits", Payer),
    ("GET", "/key", Key(Inference)),
    ("GET", "/keys", Key(Management)),
    ("POST", "/keys", Key(Management)),
    ("GET", "/keys/{key}", Key(Management)),
    ("PATCH", "/keys/{key}", Key(Management)),
    ("DELETE", "/keys/{key}", Key(Management)),
    ("GET", "/organization/projects", Key(Admin)),
    ("POST", "/organization/projects", Key(Admin)),
    ("GET", "/organization/projects/{project}", Key(Admin)),
    ("POST", "/organization/projects/{project}", Key(Admin)),
    ("POST", "/organization/projects/{project}/archive", Key(Admin)),
    ("GET", "/organization/projects/{project}/api_keys", Key(Admin)),
    ("GET", "/organization/projects/{project}/api_keys/{key}", Key(Admin)),
    ("DELETE", "/organization/projects/{project}/api_keys/{key}", Key(Admin)),
    ("GET", "/organization/projects/{project}/service_accounts", Key(Admin)),
    ("POST", "/organization/projects/{project}/service_accounts", Key(Admin)),
    ("GET", "/organization/projects/{project}/service_accounts/{service_account}", Key(Admin)),
    ("POST", "/organization/projects/{project}/service_accounts/{service_account}", Key(Admin)),
    ("DELETE", "/organization/projects/{project}/service_accounts/{service_account}", Key(Admin)),
    ("POST", "/organization/projects/{project}/service_accounts/{service_account}/api_keys", Key(Admin)),
    ("GET", "/organization/projects/{project}/rate_limits", Key(Admin)),
    ("POST", "/organization/projects/{project}/rate_limits/{*rate_limit}", Key(Admin)),
    ("GET", "/organization/projects/{project}/model_permissions", Key(Admin)),
    ("POST", "/organization/projects/{project}/model_permissions", Key(Admin)),
    ("DELETE", "/organization/projects/{project}/model_permissions", Key(Admin)),
    ("GET", "/organization/projects/{project}/spend_limit", Key(Admin)),
    ("POST", "/organization/projects/{project}/spend_limit", Key(Admin)),
    ("PUT", "/organization/projects/{project}/spend_limit", Key(Admin)),
    ("DELETE", "/organization/projects/{project}/spend_limit", Key(Admin)),
    ("GET", "/organization/spend_limit", Key(Admin)),
    ("POST", "/organization/spend_limit", Key(Admin)),
    ("PUT", "/organization/spend_limit", Key(Admin)),
    ("DELETE", "/organization/spend_limit", Key(Admin)),
    ("GET", "/organization/admin_api_keys", Key(Admin)),
    ("POST", "/organization/admin_api_keys", Key(Admin)),
    ("GET", "/organization/admin_api_keys/{key}", Key(Admin)),
    ("DELETE", "/organization/admin_api_keys/{key}", Key(Admin)),
    ("GET", "/organization/audit_logs", Key(Admin)),
    ("GET", "/organization/usage/completions", Key(Admin)),
    ("GET", "/organization/usage/embeddings", Key(Admin)),
    ("GET", "/organization/costs", Key(Admin)),
    ("POST", "/providers", Anyone),
    ("GET", "/providers/{provider}", Key(Provider)),
    ("POST", "/providers/{provider}/challenges", Anyone),
    ("POST", "/providers/{provider}/verify", Anyone),
    ("GET", "/providers/{provider}/nodes", Key(Provider)),
    ("POST", "/providers/{provider}/nodes", Key(Provider)),
    ("GET", "/providers/{provider}/nodes/{node}", Supplier),
    ("DELETE", "/providers/{provider}/nodes/{node}", Key(Provider)),
    ("POST", "/providers/{provider}/nodes/{node}/drain", Key(Provider)),
    ("POST", "/providers/{provider}/nodes/{node}/resume", Key(Provider)),
    ("POST", "/providers/{provider}/nodes/{node}/sessions", Anyone),
    ("GET", "/providers/{provider}/nodes/{node}/offers", Supplier),
    ("PUT", "/providers/{provider}/nodes/{node}/offers", Supplier),
    ("POST", "/providers/{provider}/nodes/{node}/heartbeat", Node),
    ("POST", "/providers/{provider}/nodes/{node}/reports", Node),
    ("GET", "/providers/{provider}/nodes/{node}/tunnel", Node),
    ("GET", "/health/live", Anyone),
    ("GET", "/health/ready", Anyone),
    ("GET", "/metrics", Anyone),
    ("GET", "/openapi.json", Anyone),
];
