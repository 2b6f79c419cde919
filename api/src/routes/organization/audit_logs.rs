//! Who changed what in the organization.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use protocol::{EventId, ServiceAccountId, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::list::List;
use super::LAST_SECOND;
use crate::error::ApiError;
use crate::extract::{Admin, Json, Page, Params};
use crate::state::AppState;
use crate::store::audit::{self, Event, Filter, Place};

/// What we call an event, and what OpenAI's clients know it as. Other events have one name.
const NAMES: [(&str, &str); 3] =
    [("key.created", "api_key.created"), ("key.updated", "api_key.updated"), ("key.revoked", "api_key.deleted")];

/// The routes of this file.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/organization/audit_logs", get(list))
}

/// One event. What it did stands under its own type.
#[derive(Debug, Serialize)]
struct View {
    id: EventId,
    r#type: String,
    effective_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<Value>,
    actor: Value,
    #[serde(flatten)]
    what: Map<String, Value>,
}

/// The organization's events, newest first.
#[tracing::instrument(name = "api.audit_logs.list", skip_all, fields(account.id = %admin.organization))]
async fn list(
    State(app): State<AppState>,
    admin: Admin,
    page: Page,
    params: Params,
) -> Result<Json<List<View>>, ApiError> {
    let id = |event: &View| event.id.to_string();
    let place = match (page.after()?, params.read::<EventId>("before")?) {
        (None, None) => Place::First,
        (Some(after), None) => Place::After(after),
        (None, Some(before)) => Place::Before(before),
        (Some(_), Some(_)) => return Err(ApiError::invalid("before", "not together with after")),
    };
    let filter = filter(&params)?;
    // Events are by keys and operators, who have no address: nobody is meant.
    let nobody = !params.list("actor_emails")?.is_empty();
    let events = if nobody {
        Vec::new()
    } else {
        let mut conn = app.db.acquire().await?;
        audit::list(&mut conn, admin.organization, &filter, place, page.limit + 1).await?
    };
    let data = events.into_iter().map(view).collect();
    Ok(Json(match place {
        Place::Before(_) => List::before(data, page.limit, id),
        Place::First | Place::After(_) => List::of(data, page.limit, id),
    }))
}

/// Times are whole seconds and events are not: after a second is from the next one on.
fn filter(params: &Params) -> Result<Filter, ApiError> {
    let second = |name: &str| params.integer(name, 0..=LAST_SECOND);
    let next = |second: i64| second + 1;
    let from = second("effective_at[gte]")?.max(second("effective_at[gt]")?.map(next));
    let before = [second("effective_at[lt]")?, second("effective_at[lte]")?.map(next)].into_iter().flatten().min();
    let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect::<Vec<_>>();
    Ok(Filter {
        from: from.map(Timestamp::from_unix_seconds),
        before: before.map(Timestamp::from_unix_seconds),
        projects: params.read_list("project_ids")?,
        actions: params.list("event_types")?.into_iter().map(action_of).collect(),
        actors: owned(params.list("actor_ids")?),
        targets: owned(params.list("resource_ids")?),
    })
}

fn action_of(shown: &str) -> String {
    NAMES.iter().find(|(_, name)| *name == shown).map_or(shown, |(own, _)| own).to_owned()
}

fn type_of(action: &str) -> &str {
    NAMES.iter().find(|(own, _)| *own == action).map_or(action, |(_, name)| name)
}

fn view(event: Event) -> View {
    let shown = type_of(&event.action).to_owned();
    let project = event.project.map(|id| json!({ "id": id, "name": event.project_name }));
    let detail = event.detail.as_object().is_some_and(|detail| !detail.is_empty()).then_some(event.detail);
    let mut what = json!({ "id": event.target });
    if let Some(detail) = detail {
        let key = if shown.ends_with(".updated") { "changes_requested" } else { "data" };
        what[key] = detail;
    }
    View {
        id: event.id,
        effective_at: event.at.unix_seconds(),
        project,
        actor: actor(&event.actor_kind, &event.actor, event.service_account),
        what: Map::from_iter([(shown.clone(), what)]),
        r#type: shown,
    }
}

/// Who acted. Of the operator's people an organization learns no names.
fn actor(kind: &str, actor: &str, service_account: Option<ServiceAccountId>) -> Value {
    match (kind, service_account) {
        ("key", Some(account)) => {
            let service_account = json!({ "id": account });
            json!({ "type": "api_key", "api_key": { "id": actor, "type": "service_account", "service_account": service_account } })
        }
        ("key", None) => json!({ "type": "api_key", "api_key": { "id": actor, "type": "user" } }),
        (kind, _) => json!({ "type": "session", "session": { "user": { "id": kind } } }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_time_may_be_open_or_closed() {
        let ends = |query: &str| {
            let filter = filter(&Params::parse(query)).unwrap();
            (filter.from.map(Timestamp::unix_seconds), filter.before.map(Timestamp::unix_seconds))
        };
        assert_eq!(ends(""), (None, None));
        assert_eq!(ends("effective_at[gte]=5&effective_at[lt]=9"), (Some(5), Some(9)));
        assert_eq!(ends("effective_at%5Bgt%5D=5&effective_at%5Blte%5D=9"), (Some(6), Some(10)));
        assert_eq!(
            ends("effective_at[gte]=5&effective_at[gt]=5&effective_at[lt]=9&effective_at[lte]=9"),
            (Some(6), Some(9))
        );
        assert!(filter(&Params::parse("effective_at[gt]=soon")).is_err());
    }

    #[test]
    fn a_type_is_found_under_the_name_it_is_shown_by() {
        for (own, shown) in NAMES {
            assert_eq!((type_of(own), action_of(shown).as_str()), (shown, own));
        }
        assert_eq!(
            (type_of("project.archived"), action_of("project.archived").as_str()),
            ("project.archived", "project.archived")
        );
    }
}
