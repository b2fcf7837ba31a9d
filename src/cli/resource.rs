//! The three kinds of resources, and finding one by id or name.

use prost_reflect::DynamicMessage;
use serde_json::{Value as Json, json};

use super::arguments::target::Reference;
use super::client::Client;
use super::error::CliError;
use super::output::value::{Spelling, Value};

/// What the API calls the parts of one kind of resource.
#[derive(Debug)]
pub struct Kind {
    /// The word for one.
    pub word: &'static str,
    /// Its service.
    pub service: &'static str,
    /// The request field with its id.
    pub id_field: &'static str,
    /// The answer field of `List`.
    pub list_field: &'static str,
    /// Largest page of `List`.
    pub page_size_max: u32,
}

/// Registries.
pub static REGISTRY: Kind = Kind {
    word: "registry",
    service: "yandex.cloud.iot.devices.v1.RegistryService",
    id_field: "registry_id",
    list_field: "registries",
    page_size_max: 1000,
};

/// Devices.
pub static DEVICE: Kind = Kind {
    word: "device",
    service: "yandex.cloud.iot.devices.v1.DeviceService",
    id_field: "device_id",
    list_field: "devices",
    page_size_max: 1000,
};

/// Brokers.
pub static BROKER: Kind = Kind {
    word: "broker",
    service: "yandex.cloud.iot.broker.v1.BrokerService",
    id_field: "broker_id",
    list_field: "brokers",
    page_size_max: 1000,
};

impl Kind {
    /// A request with the id of one resource and nothing else.
    pub fn by_id(&self, id: &str) -> Json {
        json!({ self.id_field: id })
    }

    /// The resource, whole.
    pub async fn find(
        &'static self,
        client: &mut Client,
        reference: &Reference,
    ) -> Result<DynamicMessage, CliError> {
        let not_found = |name: &str| CliError::NotFound { kind: self.word, name: name.to_owned() };
        match reference {
            Reference::Id(id) => match client.call(self.service, "Get", self.by_id(id)).await {
                Err(error) if is_not_found(&error) => Err(not_found(id)),
                outcome => outcome,
            },
            Reference::Name(name) => self.find_by_name(client, name).await?.ok_or_else(|| not_found(name)),
            Reference::Either(text) => match client.call(self.service, "Get", self.by_id(text)).await {
                Err(error) if is_not_found(&error) => {
                    self.find_by_name(client, text).await?.ok_or_else(|| not_found(text))
                }
                outcome => outcome,
            },
        }
    }

    /// The id of a resource. An id that is given as such is taken without asking the server.
    pub async fn id_of(
        &'static self,
        client: &mut Client,
        reference: &Reference,
    ) -> Result<String, CliError> {
        if let Reference::Id(id) = reference {
            return Ok(id.clone());
        }
        id_in(&self.find(client, reference).await?)
    }

    /// The resource of this name in the folder. Only registries are indexed by name across a folder;
    /// others are found by listing.
    async fn find_by_name(
        &'static self,
        client: &mut Client,
        name: &str,
    ) -> Result<Option<DynamicMessage>, CliError> {
        let folder = client.folder_id().to_owned();
        if self.word == REGISTRY.word {
            let request = json!({ "folder_id": folder, "registry_name": name });
            return match client.call(self.service, "GetByName", request).await {
                Err(error) if is_not_found(&error) => Ok(None),
                outcome => outcome.map(Some),
            };
        }
        let mut found = Vec::new();
        let mut pages = Pages::new(self, "List", self.list_field, json!({ "folder_id": folder }));
        while let Some(page) = pages.next(client, self.page_size_max).await? {
            for resource in page {
                if text_of(&resource, "name")? == name {
                    found.push(resource);
                }
            }
        }
        match found.len() {
            0 | 1 => Ok(found.pop()),
            _ => {
                let ids = found.iter().map(id_in).collect::<Result<Vec<_>, _>>()?;
                Err(CliError::Ambiguous { kind: self.word, name: name.to_owned(), ids })
            }
        }
    }
}

/// The id of a resource.
pub fn id_in(message: &DynamicMessage) -> Result<String, CliError> {
    text_of(message, "id")
}

/// A text field of a message.
fn text_of(message: &DynamicMessage, field: &str) -> Result<String, CliError> {
    Ok(Value::from_message(message, Spelling::Snake)?.text(field).to_owned())
}

fn is_not_found(error: &CliError) -> bool {
    matches!(error, CliError::Refused { code: "NOT_FOUND", .. })
}

/// Reads a list page by page.
pub struct Pages {
    service: &'static str,
    method: &'static str,
    field: &'static str,
    request: Json,
    /// The next page; `None` after the last one.
    token: Option<String>,
}

impl Pages {
    /// The pages of a method whose answers have their entries in `field`.
    pub fn new(kind: &Kind, method: &'static str, field: &'static str, request: Json) -> Self {
        Self::of_service(kind.service, method, field, request)
    }

    /// As [`Pages::new`], of any service.
    pub fn of_service(
        service: &'static str,
        method: &'static str,
        field: &'static str,
        request: Json,
    ) -> Self {
        Self { service, method, field, request, token: Some(String::new()) }
    }

    /// The next page of at most `size` entries, or `None` after the last.
    pub async fn next(
        &mut self,
        client: &mut Client,
        size: u32,
    ) -> Result<Option<Vec<DynamicMessage>>, CliError> {
        let Some(token) = self.token.take() else { return Ok(None) };
        let mut request = self.request.clone();
        request["page_size"] = json!(size);
        request["page_token"] = json!(token);
        let answer = client.call(self.service, self.method, request).await?;
        let next = text_of(&answer, "next_page_token")?;
        self.token = (!next.is_empty()).then_some(next);
        Ok(Some(entries(&answer, self.field)))
    }

    /// Up to `limit` entries, and whether there are more.
    pub async fn take(
        mut self,
        client: &mut Client,
        limit: u32,
        page_size_max: u32,
    ) -> Result<(Vec<DynamicMessage>, bool), CliError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut taken = Vec::new();
        while taken.len() < limit {
            let missing = u32::try_from(limit - taken.len()).unwrap_or(u32::MAX);
            let Some(page) = self.next(client, missing.min(page_size_max)).await? else {
                return Ok((taken, false));
            };
            taken.extend(page);
        }
        let more = taken.len() > limit || self.token.is_some();
        taken.truncate(limit);
        Ok((taken, more))
    }
}

/// The messages of a repeated field.
pub fn entries(answer: &DynamicMessage, field: &str) -> Vec<DynamicMessage> {
    let value = answer.get_field_by_name(field);
    let list = value.as_deref().and_then(prost_reflect::Value::as_list).unwrap_or_default();
    list.iter().filter_map(|entry| entry.as_message().cloned()).collect()
}
