//! The catalogue in Anthropic's shape.

use protocol::Timestamp;
use serde_json::{Value, json};

use crate::tokenizer::strftime;

/// A model of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    /// Its id, `org/name`.
    pub id: &'a str,
    /// Its name for people.
    pub display_name: &'a str,
    /// When it was added.
    pub created_at: Timestamp,
}

/// All models, as one page.
pub fn model_list(models: &[Model<'_>]) -> Vec<u8> {
    let list = json!({
        "data": models.iter().map(Model::view).collect::<Vec<_>>(),
        "has_more": false,
        "first_id": models.first().map(|model| model.id),
        "last_id": models.last().map(|model| model.id),
    });
    list.to_string().into_bytes()
}

/// One model.
pub fn model(model: &Model<'_>) -> Vec<u8> {
    model.view().to_string().into_bytes()
}

impl Model<'_> {
    fn view(&self) -> Value {
        let created_at = strftime::format(self.created_at.unix_seconds(), "%FT%TZ");
        json!({ "type": "model", "id": self.id, "display_name": self.display_name, "created_at": created_at })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> Value {
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn a_list_is_one_page_that_names_its_ends() {
        let created_at = Timestamp::from_unix_seconds(1_771_500_000);
        let models = ["a/one", "b/two"].map(|id| Model { id, display_name: "Name", created_at });
        let list = read(&model_list(&models));
        assert_eq!(list["first_id"], "a/one");
        assert_eq!((&list["last_id"], &list["has_more"]), (&json!("b/two"), &json!(false)));
        let one = json!({"type":"model","id":"a/one","display_name":"Name","created_at":"2026-02-19T11:20:00Z"});
        assert_eq!(list["data"][0], one);
        assert_eq!(read(&model(&models[0])), one);
    }

    #[test]
    fn an_empty_list_has_no_ends() {
        let empty = json!({"data":[],"has_more":false,"first_id":null,"last_id":null});
        assert_eq!(read(&model_list(&[])), empty);
    }
}
