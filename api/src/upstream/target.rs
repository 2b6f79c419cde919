//! Which addresses may be called. Others name them, so they are data: only public ones are called, and what was
//! checked is what is connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use url::{Host, Url};

/// Why an address is not called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a URL this gateway can call.
    #[error("not an absolute https URL without credentials, query or fragment")]
    Url,
    /// Plain HTTP to the outside.
    #[error("plain http is only for addresses that providers.allow_private admits")]
    Plain,
    /// An address inside some network.
    #[error("{0} is not a public address")]
    Private(IpAddr),
}

/// Checks a URL when a provider registers it; the same rules hold again at each call.
///
/// # Errors
/// [`Refusal`] with the reason.
pub fn check_url(text: &str, allow_private: bool) -> Result<(), Refusal> {
    let url = Url::parse(text).map_err(|_| Refusal::Url)?;
    if url.query().is_some() {
        return Err(Refusal::Url);
    }
    check(&url, allow_private)
}

/// Checks a URL that is called as it stands, query and all.
///
/// # Errors
/// [`Refusal`] with the reason.
pub fn check_target(text: &str, allow_private: bool) -> Result<(), Refusal> {
    check(&Url::parse(text).map_err(|_| Refusal::Url)?, allow_private)
}

fn check(url: &Url, allow_private: bool) -> Result<(), Refusal> {
    let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    if !bare || !matches!(url.scheme(), "https" | "http") {
        return Err(Refusal::Url);
    }
    if url.scheme() == "http" && !allow_private {
        return Err(Refusal::Plain);
    }
    match url.host().ok_or(Refusal::Url)? {
        Host::Ipv4(ip) => judge(ip.into(), allow_private),
        Host::Ipv6(ip) => judge(ip.into(), allow_private),
        Host::Domain(_) => Ok(()),
    }
}

/// Lets public addresses through, and all where `allow_private` says so.
pub(super) fn judge(ip: IpAddr, allow_private: bool) -> Result<(), Refusal> {
    if allow_private || is_public(ip) { Ok(()) } else { Err(Refusal::Private(ip)) }
}

/// Whether an address is routed on the public internet, by the special-purpose registries (RFC 6890).
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        // An IPv4 address in IPv6 clothes is judged as what it is.
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or_else(|| is_public_v6(ip), is_public_v4),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b)) // carrier-grade NAT
        || (a == 198 && (18..20).contains(&b)) // benchmarks
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99);
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    // Only 2000::/3 is global unicast; inside it, documentation, 6to4 and Teredo can hide inner addresses.
    let global = segments[0] & 0xe000 == 0x2000;
    let hidden = segments[0] == 0x2002 || (segments[0] == 0x2001 && (segments[1] < 0x200 || segments[1] == 0xdb8));
    global && !hidden
}

/// Resolves names and refuses those with any address inside some network: what passes is connected to as is.
#[derive(Debug, Clone, Copy)]
pub(super) struct PublicResolver {
    pub(super) allow_private: bool,
}

impl tower::Service<Name> for PublicResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            for address in &found {
                judge(address.ip(), allow_private).map_err(std::io::Error::other)?;
            }
            Ok(found.into_iter())
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_called() {
        let inside = [
            "http://127.0.0.1/v1",
            "https://127.0.0.1/v1",
            "https://10.0.0.1",
            "https://169.254.169.254/latest",
            "https://[::1]/v1",
            "https://[::ffff:127.0.0.1]",
            "https://[fd00::1]",
            "https://100.64.0.1",
            "https://0.0.0.0",
            "https://192.168.1.1",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[2002:7f00:1::]",
            "https://224.0.0.1",
        ];
        for url in inside {
            assert!(check_url(url, false).is_err(), "{url}");
        }
        for url in
            ["ftp://example.com", "https://user@example.com", "https://example.com?x=1", "example.com", "https://"]
        {
            assert_eq!(check_url(url, true), Err(Refusal::Url), "{url}");
        }
        check_url("https://93.184.215.14/v1", false).unwrap();
        check_url("https://gpu.example/v1", false).unwrap();
        check_url("http://127.0.0.1:8080/v1", true).unwrap();
        check_target("https://gpu.example/hook?token=x", false).unwrap();
        assert!(matches!(check_target("https://10.0.0.1/hook?token=x", false), Err(Refusal::Private(_))));
        assert_eq!(check_target("http://gpu.example/hook", false), Err(Refusal::Plain));
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_refused() {
        use std::str::FromStr;
        let mut resolver = PublicResolver { allow_private: false };
        let error = tower::Service::call(&mut resolver, Name::from_str("localhost").unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("not a public address"), "{error}");
    }
}
