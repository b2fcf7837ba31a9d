//! Who may call what: one check in front of every service, so that no method can forget it.
//!
//! A caller shows `authorization: Bearer <secret>` (`spec/api.md`, Conventions). The secret is looked up by its
//! SHA-256, so nothing secret is ever compared byte by byte. Which role a call needs is read off its path:
//! reads need a viewer; the token service, and what changes nodes, members and sessions, an administrator; everything
//! else (known or not) an editor.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{Either, Ready, ready};
use sha2::{Digest, Sha256};
use smol_str::SmolStr;
use tonic::Status;
use tonic::codegen::http::header::AUTHORIZATION;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tower::{Layer, Service};

use crate::domain::id::TokenId;
use crate::domain::token::{Role, TokenHash};

/// Longest secret that is looked at, in bytes; longer ones are refused unread.
pub const SECRET_BYTES_MAX: usize = 4096;

/// Health needs no token: load balancers and kubelets have none.
const OPEN_PREFIX: &str = "/grpc.health.v1.Health/";
const REFLECTION_PREFIX: &str = "/grpc.reflection.";
const TOKEN_SERVICE_PREFIX: &str = "/rookery.admin.v1.TokenService/";
const ADMINISTRATION_PREFIX: &str = "/rookery.admin.v1.";

/// The authenticated caller of a method; the layer puts it into the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The subject that operations name in `created_by`: the token's id.
    pub subject: TokenId,
    /// What the caller may do.
    pub role: Role,
}

/// The path of the called method, `/package.Service/Method`; the layer puts it into the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalledMethod(pub SmolStr);

/// Finds the caller that a token's hash belongs to.
pub type FindCaller = Arc<dyn Fn(&TokenHash) -> Option<Caller> + Send + Sync>;

/// What a token is looked up by.
pub fn hash_secret(secret: &[u8]) -> TokenHash {
    Sha256::digest(secret).into()
}

/// The role that a call needs, from its path `/package.Service/Method`; `None` for an open one.
fn required_role(path: &str) -> Option<Role> {
    if path.starts_with(OPEN_PREFIX) {
        return None;
    }
    if path.starts_with(TOKEN_SERVICE_PREFIX) {
        return Some(Role::Administrator);
    }
    let method = path.rsplit('/').next().unwrap_or_default();
    let reads = ["Get", "List", "Watch"].iter().any(|verb| method.starts_with(verb))
        || path.starts_with(REFLECTION_PREFIX);
    Some(match reads {
        true => Role::Viewer,
        false if path.starts_with(ADMINISTRATION_PREFIX) => Role::Administrator,
        false => Role::Editor,
    })
}

/// Wraps the services of the API in the access check.
#[derive(Clone)]
pub struct AccessLayer {
    find_caller: FindCaller,
}

impl AccessLayer {
    /// A check against the given tokens.
    pub fn new(find_caller: FindCaller) -> Self {
        Self { find_caller }
    }
}

impl<S> Layer<S> for AccessLayer {
    type Service = Access<S>;

    fn layer(&self, inner: S) -> Access<S> {
        Access { inner, find_caller: Arc::clone(&self.find_caller) }
    }
}

/// The check in front of one service.
#[derive(Clone)]
pub struct Access<S> {
    inner: S,
    find_caller: FindCaller,
}

impl<S> Access<S> {
    /// Decides about one call.
    fn admit(&self, path: &str, headers: &HeaderMap) -> Result<Option<Caller>, Status> {
        let Some(required) = required_role(path) else { return Ok(None) };
        let caller = bearer_secret(headers)
            .and_then(|secret| (self.find_caller)(&hash_secret(secret)))
            .ok_or_else(|| Status::unauthenticated("authorization: must be Bearer and a valid token"))?;
        if caller.role < required {
            let text = format!("this method needs the role {required} (the token has {})", caller.role);
            return Err(Status::permission_denied(text));
        }
        Ok(Some(caller))
    }
}

fn bearer_secret(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.as_bytes();
    if values.next().is_some() {
        return None;
    }
    let (scheme, secret) = value.split_at_checked("Bearer ".len())?;
    let usable = scheme.eq_ignore_ascii_case(b"Bearer ") && (1..=SECRET_BYTES_MAX).contains(&secret.len());
    usable.then_some(secret)
}

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for Access<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>, Error = Infallible>,
    ResponseBody: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        match self.admit(request.uri().path(), request.headers()) {
            Ok(caller) => {
                if let Some(caller) = caller {
                    let method = CalledMethod(SmolStr::new(request.uri().path()));
                    request.extensions_mut().insert(method);
                    request.extensions_mut().insert(caller);
                }
                Either::Left(self.inner.call(request))
            }
            Err(status) => Either::Right(ready(Ok(status.into_http()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    const GET_DEVICE: &str = "/yandex.cloud.iot.devices.v1.DeviceService/Get";
    const CREATE_DEVICE: &str = "/yandex.cloud.iot.devices.v1.DeviceService/Create";
    const PUBLISH: &str = "/yandex.cloud.iot.broker.v1.BrokerDataService/Publish";
    const LIST_TOKENS: &str = "/rookery.admin.v1.TokenService/List";
    const REFLECT: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    const UNKNOWN: &str = "/yandex.cloud.iot.devices.v1.DeviceService/Explode";

    fn access() -> Access<()> {
        let find = |hash: &TokenHash| {
            [("viewer", Role::Viewer), ("editor", Role::Editor), ("admin", Role::Administrator)]
                .into_iter()
                .find(|(secret, _)| hash_secret(secret.as_bytes()) == *hash)
                .map(|(secret, role)| Caller { subject: TokenId::new(secret), role })
        };
        AccessLayer::new(Arc::new(find)).layer(())
    }

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, value.parse().expect("header value"))).collect()
    }

    fn outcome(path: &str, values: &[&str]) -> Result<(), Code> {
        access().admit(path, &headers(values)).map(|_| ()).map_err(|status| status.code())
    }

    #[test]
    fn each_role_reaches_its_methods_and_no_others() {
        let cases = [
            (GET_DEVICE, [true, true, true]),
            (REFLECT, [true, true, true]),
            (CREATE_DEVICE, [false, true, true]),
            (PUBLISH, [false, true, true]),
            (UNKNOWN, [false, true, true]),
            (LIST_TOKENS, [false, false, true]),
        ];
        for (path, allowed) in cases {
            for (secret, allowed) in ["viewer", "editor", "admin"].into_iter().zip(allowed) {
                let expected = if allowed { Ok(()) } else { Err(Code::PermissionDenied) };
                assert_eq!(outcome(path, &[&format!("Bearer {secret}")]), expected, "{path} as {secret}");
            }
        }
    }

    #[test]
    fn without_exactly_one_good_token_nothing_is_reached() {
        let long = format!("Bearer {}", "x".repeat(SECRET_BYTES_MAX + 1));
        let bad: [&[&str]; 7] = [
            &[],
            &["viewer"],
            &["Bearer "],
            &["Basic viewer"],
            &["Bearer wrong"],
            &["Bearer viewer", "Bearer viewer"],
            &[&long],
        ];
        for path in [GET_DEVICE, CREATE_DEVICE, LIST_TOKENS, REFLECT, UNKNOWN, "/", ""] {
            for values in bad {
                assert_eq!(outcome(path, values), Err(Code::Unauthenticated), "{path} {values:?}");
            }
        }
    }

    #[test]
    fn the_scheme_is_not_case_sensitive() {
        assert_eq!(outcome(GET_DEVICE, &["bearer viewer"]), Ok(()));
    }

    #[test]
    fn health_is_open() {
        assert_eq!(outcome("/grpc.health.v1.Health/Check", &[]), Ok(()));
    }
}
