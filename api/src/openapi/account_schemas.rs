//! Shapes of accounts on the wire: keys, projects, limits, usage.

use std::collections::BTreeMap;

use super::shape::{JsonObject, objects, requests};

requests! {
    /// A key to be.
    CreateKey {
        name: String,
        ;
        /// The most it may spend, in US dollars as a decimal string.
        limit: String,
        /// `daily`, `weekly` or `monthly`; for a lifetime when absent.
        limit_reset: String,
        /// Unix seconds.
        expires_at: i64,
    }
    /// What is to change of a key. What is absent stays.
    UpdateKey {;
        name: String,
        limit: String,
        limit_reset: String,
        disabled: bool,
    }
}

objects! {
    /// An inference key as its manager sees it. Money as decimal strings of US dollars.
    ManagedKey {
        id: String, object: String,
        /// What names the key in a URL: its id.
        hash: String,
        name: String,
        /// Enough to recognise the secret.
        label: String,
        disabled: bool, limit: Option<String>, limit_remaining: Option<String>, limit_reset: Option<String>,
        usage: String, usage_daily: String, usage_weekly: String, usage_monthly: String,
        created_at: i64, expires_at: Option<i64>,
    }
    /// A key.
    ManagedKeyResponse { data: ManagedKey, }
    /// A key and its secret.
    CreatedKey { data: ManagedKey,
        /// Shown this once.
        key: String, }
    /// Keys.
    KeyList { object: String, data: Vec<ManagedKey>, first_id: Option<String>, last_id: Option<String>, has_more: bool, }
    /// Something with an id is gone.
    DeletedObject { id: String, object: String, deleted: bool, }
    /// A setting is gone.
    DeletedSetting { object: String, deleted: bool, }
}

requests! {
    /// A project to be.
    CreateProject { name: String, }
    /// What is to change of a project.
    UpdateProject {;
        name: String,
    }
}

objects! {
    /// What money is spent for.
    Project {
        id: String,
        /// Always `organization.project`.
        object: String,
        name: String,
        /// `active` or `archived`.
        status: String,
        is_default: bool, created_at: i64, archived_at: Option<i64>,
    }
    /// Projects.
    ProjectList { object: String, data: Vec<Project>, first_id: Option<String>, last_id: Option<String>, has_more: bool, }
    /// A key as the organization's admin sees it.
    ProjectApiKey {
        /// Always `organization.project.api_key`.
        object: String,
        id: String, name: String, redacted_value: String, created_at: i64,
        /// When it was last charged for, to the hour.
        last_used_at: Option<i64>,
        /// `active` or `inactive`.
        owner_project_access: String,
        owner: ApiKeyOwner,
    }
    /// Who holds a key.
    ApiKeyOwner {
        /// `service_account` or `user`.
        r#type: String,
        ;
        service_account: ApiKeyServiceAccount,
    }
    /// The service account that holds a key.
    ApiKeyServiceAccount { id: String, name: String, created_at: i64, role: String, }
    /// Keys of a project.
    ProjectApiKeyList { object: String, data: Vec<ProjectApiKey>, first_id: Option<String>, last_id: Option<String>, has_more: bool, }
}

requests! {
    /// A service account to be.
    CreateServiceAccount {
        name: String,
        ;
        /// Leaves the first key out.
        create_service_account_only: bool,
    }
    /// What is to change of a service account.
    UpdateServiceAccount {;
        name: String,
        /// `member`: there is no other.
        role: String,
    }
}

objects! {
    /// A program with keys of its own.
    ServiceAccount {
        /// Always `organization.project.service_account`.
        object: String,
        id: String, name: String, role: String, created_at: i64,
    }
    /// A service account with its first key.
    CreatedServiceAccount {
        object: String, id: String, name: String, role: String, created_at: i64,
        api_key: Option<ServiceAccountApiKey>,
    }
    /// Service accounts.
    ServiceAccountList { object: String, data: Vec<ServiceAccount>, first_id: Option<String>, last_id: Option<String>, has_more: bool, }
}

requests! {
    /// A key to be.
    CreateServiceAccountApiKey {;
        name: String,
    }
}

objects! {
    /// A key of a service account.
    ServiceAccountApiKey {
        /// Always `organization.project.service_account.api_key`.
        object: String,
        id: String, name: String,
        /// Shown this once.
        value: String,
        created_at: i64,
    }
}

requests! {
    /// What is to change of a limit.
    UpdateRateLimit {;
        #[schema(minimum = 1)]
        max_requests_per_1_minute: u32,
        #[schema(minimum = 1)]
        max_tokens_per_1_minute: u32,
        #[schema(minimum = 1)]
        max_concurrency: u32,
    }
}

objects! {
    /// How much may be asked for at a time. 2147483647 stands for no limit.
    RateLimit {
        /// Always `project.rate_limit`.
        object: String,
        /// `rl-` and the model.
        id: String,
        /// A model, or `*` for all together.
        model: String,
        max_requests_per_1_minute: u32, max_tokens_per_1_minute: u32, max_concurrency: u32,
    }
    /// Limits.
    RateLimitList { object: String, data: Vec<RateLimit>, first_id: Option<String>, last_id: Option<String>, has_more: bool, }
}

requests! {
    /// Which models a project may ask for.
    SetModelPermissions {
        /// `allow_list` or `deny_list`.
        mode: String,
        /// At most 1000.
        model_ids: Vec<String>,
    }
}

objects! {
    /// Which models a project may ask for.
    ModelPermissions {
        /// Always `project.model_permissions`.
        object: String,
        /// `allow_list` or `deny_list`.
        mode: String,
        model_ids: Vec<String>,
    }
}

requests! {
    /// A limit: `limit_usd` with `reset`, or `threshold_amount` with `interval`.
    SetSpendLimit {;
        /// US dollars as a decimal string.
        limit_usd: String,
        /// `daily`, `weekly` or `monthly`; for a lifetime when null or absent.
        reset: String,
        /// Whole cents.
        #[schema(minimum = 1)]
        threshold_amount: i64,
        /// `USD`.
        currency: String,
        /// `day`, `week`, `month` or `lifetime`.
        interval: String,
    }
}

objects! {
    /// The most that may be spent.
    SpendLimit {
        /// `organization.spend_limit` or `project.spend_limit`.
        object: String,
        limit_usd: String, reset: Option<String>, remaining_usd: String,
        /// Whole cents, rounded down.
        threshold_amount: i64,
        currency: String, interval: String, enforcement: SpendLimitEnforcement,
    }
    /// Whether the limit refuses requests now.
    SpendLimitEnforcement {
        /// `inactive` or `enforcing`.
        status: String,
    }
}

requests! {
    /// An admin key to be.
    CreateAdminApiKey {
        name: String,
        ;
        #[schema(minimum = 1, maximum = 31536000)]
        expires_in_seconds: u64,
    }
}

objects! {
    /// An admin key.
    AdminApiKey {
        /// Always `organization.admin_api_key`.
        object: String,
        id: String, name: String, redacted_value: String, created_at: i64, expires_at: Option<i64>, owner: AdminApiKeyOwner,
    }
    /// An admin key speaks for the organization as a whole.
    AdminApiKeyOwner { r#type: String, object: String, id: String, name: String, created_at: i64, role: String, }
    /// An admin key and its secret.
    CreatedAdminApiKey {
        object: String, id: String, name: String, redacted_value: String, created_at: i64, expires_at: Option<i64>,
        owner: AdminApiKeyOwner,
        /// Shown this once.
        value: String,
    }
    /// Admin keys.
    AdminApiKeyList { object: String, data: Vec<AdminApiKey>, first_id: Option<String>, last_id: Option<String>, has_more: bool, }
    /// One change.
    AuditLog {
        id: String,
        /// Such as `api_key.created`, `project.archived`, `rate_limit.updated`, `spend_limit.updated`.
        r#type: String,
        effective_at: i64,
        actor: JsonObject,
        /// What it did, under a key named like its type.
        #[serde(flatten)]
        what: BTreeMap<String, JsonObject>,
        ;
        project: AuditLogProject,
    }
    /// The project a change was made in.
    AuditLogProject { id: String, name: Option<String>, }
    /// Changes.
    AuditLogList { object: String, data: Vec<AuditLog>, first_id: Option<String>, last_id: Option<String>, has_more: bool, }
    /// Buckets of usage.
    CompletionsUsagePage { object: String, data: Vec<CompletionsUsageBucket>, has_more: bool, next_page: Option<String>, }
    /// Usage of one span of time.
    CompletionsUsageBucket { object: String, start_time: i64, end_time: i64, results: Vec<CompletionsUsage>, }
    /// One sum. What was not told apart is null.
    CompletionsUsage {
        /// Always `organization.usage.completions.result`.
        object: String,
        input_tokens: i64, input_cached_tokens: i64, input_cache_write_tokens: i64, input_uncached_tokens: i64,
        output_tokens: i64, num_model_requests: i64, project_id: Option<String>, user_id: Option<String>,
        api_key_id: Option<String>, model: Option<String>, batch: Option<bool>, service_tier: Option<String>,
    }
    /// Buckets of usage.
    EmbeddingsUsagePage { object: String, data: Vec<EmbeddingsUsageBucket>, has_more: bool, next_page: Option<String>, }
    /// Usage of one span of time.
    EmbeddingsUsageBucket { object: String, start_time: i64, end_time: i64, results: Vec<EmbeddingsUsage>, }
    /// One sum. What was not told apart is null.
    EmbeddingsUsage {
        /// Always `organization.usage.embeddings.result`.
        object: String,
        input_tokens: i64, num_model_requests: i64, project_id: Option<String>, user_id: Option<String>,
        api_key_id: Option<String>, model: Option<String>,
    }
    /// Days of costs.
    CostsPage { object: String, data: Vec<CostsBucket>, has_more: bool, next_page: Option<String>, }
    /// Costs of one day.
    CostsBucket { object: String, start_time: i64, end_time: i64, results: Vec<Costs>, }
    /// One sum. What was not told apart is null.
    Costs {
        /// Always `organization.costs.result`.
        object: String,
        amount: CostsAmount,
        /// A model.
        line_item: Option<String>,
        project_id: Option<String>, api_key_id: Option<String>,
    }
    /// Money as a number, for clients whose types demand it.
    CostsAmount {
        value: f64,
        /// `usd`.
        currency: String,
    }
}
