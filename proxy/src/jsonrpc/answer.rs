//! One member of an answer: its id, and a result or an error.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::raw::Field;
use crate::model::RpcError;

/// Maximum bytes kept of an endpoint's error message.
pub(super) const MAX_MESSAGE: usize = 1_024;

#[derive(Deserialize)]
pub(super) struct Member<'a> {
    #[serde(default, borrow)]
    id: Field<'a>,
    #[serde(default, borrow)]
    result: Field<'a>,
    #[serde(default, borrow)]
    error: Field<'a>,
}

#[derive(Deserialize)]
struct ErrorObject<'a> {
    #[serde(default, borrow)]
    code: Option<&'a RawValue>,
    #[serde(default, borrow)]
    message: Option<Cow<'a, str>>,
}

/// The content of a member.
pub(super) enum Says {
    Result,
    Error(RpcError),
    /// An error without a code, as gateways write instead of an answer; its message.
    Uncoded(String),
    /// Neither: it isn't JSON-RPC.
    Nothing,
}

impl<'a> Member<'a> {
    pub(super) fn parse(json: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// The id as it is written; `None` if it is absent or null.
    pub(super) fn id(&self) -> Option<&'a [u8]> {
        self.id.value().map(|id| id.get().as_bytes())
    }

    /// The error as it is written.
    pub(super) fn error(&self) -> Option<&'a str> {
        self.error.value().map(RawValue::get)
    }

    pub(super) fn says(&self) -> Says {
        match (self.error.value(), self.result.0) {
            (Some(error), _) => read_error(error),
            (None, Some(_)) => Says::Result,
            (None, None) => Says::Nothing,
        }
    }
}

fn read_error(raw: &RawValue) -> Says {
    let error: Option<ErrorObject<'_>> = serde_json::from_str(raw.get()).ok();
    let code = error.as_ref().and_then(|e| e.code).and_then(|code| code.get().parse().ok());
    // Some gateways send plain text as the error.
    let text = || serde_json::from_str::<Cow<'_, str>>(raw.get()).ok();
    let message = error.and_then(|e| e.message).or_else(text).unwrap_or_default();
    let message = cut(&message).to_owned();
    match code {
        Some(code) => Says::Error(RpcError { code, message }),
        None => Says::Uncoded(message),
    }
}

/// The beginning of a text, up to [`MAX_MESSAGE`] bytes.
pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_MESSAGE)]
}
