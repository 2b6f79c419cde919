//! Settled requests on their way into the books, and the arrays a batch of them is sent as.

use protocol::{
    AttemptId, KeyId, LeaseId, NanoUsd, NodeId, OfferId, OrganizationId, ProjectId, ProviderId, RequestId, Timestamp,
    Units,
};
use serde::{Deserialize, Serialize};

use crate::outcome::{CountedBy, Earning, Outcome};

/// One settled request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UsageRow {
    pub request: RequestId,
    pub account: OrganizationId,
    pub project: ProjectId,
    pub key: KeyId,
    /// The leases its money was set aside on, as far as limits bind it.
    pub lease: Option<LeaseId>,
    pub key_lease: Option<LeaseId>,
    pub project_lease: Option<LeaseId>,
    pub organization_lease: Option<LeaseId>,
    pub outcome: Outcome,
    pub hold: NanoUsd,
    pub charge: NanoUsd,
    pub clamped: NanoUsd,
    pub units: Units,
    pub model: String,
    pub streamed: bool,
    pub finish_reason: Option<String>,
    pub native_finish_reason: Option<String>,
    pub received_at: Timestamp,
    pub first_output_at: Option<Timestamp>,
    pub finished_at: Timestamp,
    // Rows that were parked before these were kept have neither.
    #[serde(default)]
    pub service_tier: Option<String>,
    #[serde(default)]
    pub routing: Option<serde_json::Value>,
    pub attempts: Vec<AttemptRow>,
}

/// One attempt of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttemptRow {
    pub attempt: AttemptId,
    pub provider: ProviderId,
    pub node: NodeId,
    pub offer: OfferId,
    pub price_version: u32,
    pub outcome: Outcome,
    pub earning: Earning,
    pub counted_by: CountedBy,
    pub units: Units,
    pub reread: u32,
    pub status: Option<u16>,
    pub error_code: Option<String>,
    pub started_at: Timestamp,
    pub first_output_at: Option<Timestamp>,
    pub finished_at: Timestamp,
}

/// Units of many rows, class by class.
#[derive(Default)]
pub(crate) struct UnitColumns {
    pub prompt: Vec<i64>,
    pub cached_prompt: Vec<i64>,
    pub cache_write: Vec<i64>,
    pub completion: Vec<i64>,
    pub internal_reasoning: Vec<i64>,
    pub request: Vec<i64>,
}

impl UnitColumns {
    fn push(&mut self, units: &Units) {
        self.prompt.push(units.prompt.into());
        self.cached_prompt.push(units.cached_prompt.into());
        self.cache_write.push(units.cache_write.into());
        self.completion.push(units.completion.into());
        self.internal_reasoning.push(units.internal_reasoning.into());
        self.request.push(units.request.into());
    }
}

/// Usage of many requests, column by column.
#[derive(Default)]
pub(crate) struct UsageColumns {
    pub request: Vec<RequestId>,
    pub account: Vec<OrganizationId>,
    pub project: Vec<ProjectId>,
    pub key: Vec<KeyId>,
    pub lease: Vec<Option<LeaseId>>,
    pub key_lease: Vec<Option<LeaseId>>,
    pub project_lease: Vec<Option<LeaseId>>,
    pub organization_lease: Vec<Option<LeaseId>>,
    pub outcome: Vec<String>,
    pub hold: Vec<i64>,
    pub charge: Vec<i64>,
    pub clamped: Vec<i64>,
    pub units: UnitColumns,
    pub model: Vec<String>,
    pub streamed: Vec<bool>,
    pub finish_reason: Vec<Option<String>>,
    pub native_finish_reason: Vec<Option<String>>,
    pub received_at: Vec<Timestamp>,
    pub first_output_at: Vec<Option<Timestamp>>,
    pub finished_at: Vec<Timestamp>,
    pub service_tier: Vec<Option<String>>,
    pub routing: Vec<Option<serde_json::Value>>,
}

/// Attempts of many requests, column by column.
#[derive(Default)]
pub(crate) struct AttemptColumns {
    pub attempt: Vec<AttemptId>,
    pub request: Vec<RequestId>,
    pub position: Vec<i32>,
    pub provider: Vec<ProviderId>,
    pub node: Vec<NodeId>,
    pub offer: Vec<OfferId>,
    pub price_version: Vec<i32>,
    pub outcome: Vec<String>,
    pub cost_kind: Vec<String>,
    pub earn: Vec<i64>,
    pub reread_earn: Vec<i64>,
    pub counted_by: Vec<String>,
    pub units: UnitColumns,
    pub reread: Vec<i64>,
    pub status: Vec<Option<i32>>,
    pub error_code: Vec<Option<String>>,
    pub started_at: Vec<Timestamp>,
    pub first_output_at: Vec<Option<Timestamp>>,
    pub finished_at: Vec<Timestamp>,
}

impl UsageColumns {
    pub fn push(&mut self, row: &UsageRow) {
        self.request.push(row.request);
        self.account.push(row.account);
        self.project.push(row.project);
        self.key.push(row.key);
        self.lease.push(row.lease);
        self.key_lease.push(row.key_lease);
        self.project_lease.push(row.project_lease);
        self.organization_lease.push(row.organization_lease);
        self.outcome.push(row.outcome.as_str().to_owned());
        self.hold.push(row.hold.nano());
        self.charge.push(row.charge.nano());
        self.clamped.push(row.clamped.nano());
        self.units.push(&row.units);
        self.model.push(row.model.clone());
        self.streamed.push(row.streamed);
        self.finish_reason.push(row.finish_reason.clone());
        self.native_finish_reason.push(row.native_finish_reason.clone());
        self.received_at.push(row.received_at);
        self.first_output_at.push(row.first_output_at);
        self.finished_at.push(row.finished_at);
        self.service_tier.push(row.service_tier.clone());
        self.routing.push(row.routing.clone());
    }
}

impl AttemptColumns {
    pub fn push(&mut self, request: RequestId, position: i32, row: &AttemptRow) {
        self.attempt.push(row.attempt);
        self.request.push(request);
        self.position.push(position);
        self.provider.push(row.provider);
        self.node.push(row.node);
        self.offer.push(row.offer);
        self.price_version.push(row.price_version.cast_signed());
        self.outcome.push(row.outcome.as_str().to_owned());
        self.cost_kind.push(row.earning.cost_kind.as_str().to_owned());
        self.earn.push(row.earning.earned.nano());
        self.reread_earn.push(row.earning.reread.nano());
        self.counted_by.push(row.counted_by.as_str().to_owned());
        self.units.push(&row.units);
        self.reread.push(row.reread.into());
        self.status.push(row.status.map(i32::from));
        self.error_code.push(row.error_code.clone());
        self.started_at.push(row.started_at);
        self.first_output_at.push(row.first_output_at);
        self.finished_at.push(row.finished_at);
    }
}
