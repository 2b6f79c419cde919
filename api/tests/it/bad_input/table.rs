//! One endpoint in a table: a body it takes, and what may be wrong with one.

use serde_json::{Value, json};

/// An endpoint and what it must refuse.
pub struct Endpoint {
    /// `POST` or `PATCH`.
    pub method: &'static str,
    /// As the list of routes has it.
    pub route: &'static str,
    /// A body it takes. Texts such as `{challenge}` stand for what only a running broker knows.
    pub good: Value,
    /// How that is answered.
    pub taken: u16,
    /// What is wrong with the bodies it must refuse.
    pub cases: Vec<Case>,
    /// The field that is missed first.
    first: Option<String>,
    /// Whether its body is JSON; one that is not has no cases but its own.
    is_json: bool,
}

/// One thing that is wrong, and the answer it gets.
#[derive(Debug, Clone)]
pub struct Case {
    /// For whoever reads the failure.
    pub what: String,
    /// Added to the path.
    pub query: &'static str,
    /// Sent besides the usual ones, or in their place.
    pub headers: Vec<(&'static str, &'static str)>,
    /// What is sent.
    pub body: Vec<u8>,
    /// The status of the refusal.
    pub status: u16,
    /// The field that is named.
    pub param: Option<String>,
}

impl Endpoint {
    /// A POST that answers `good` with `taken`.
    pub fn post(route: &'static str, good: Value, taken: u16) -> Self {
        Self { method: "POST", route, good, taken, cases: Vec::new(), first: None, is_json: true }
    }

    /// The same as a PATCH.
    pub fn patch(route: &'static str, good: Value, taken: u16) -> Self {
        Self { method: "PATCH", ..Self::post(route, good, taken) }
    }

    /// A POST of anything but a JSON body of our own.
    pub fn foreign(route: &'static str, good: Value, taken: u16) -> Self {
        Self { is_json: false, ..Self::post(route, good, taken) }
    }

    /// None of these fields may be missing, nor be null.
    pub fn needs(mut self, paths: &[&str]) -> Self {
        self.first = paths.first().map(|path| (*path).to_owned());
        for path in paths {
            let mut body = self.good.clone();
            let (parent, name) = place(&mut body, path);
            parent.as_object_mut().unwrap().remove(&name).unwrap_or_else(|| panic!("no {path} in {}", self.good));
            self.cases.push(Case::invalid(format!("no {path}"), body.to_string(), Some(path)));
            self = self.refuses(path, [Value::Null]);
        }
        self
    }

    /// A field may be none of these.
    pub fn refuses(self, path: &str, values: impl IntoIterator<Item = Value>) -> Self {
        values.into_iter().fold(self, |endpoint, value| endpoint.refuses_for(path, path, value))
    }

    /// A field may not be this, for which another is named: one inside it, or one it does not go with.
    pub fn refuses_for(mut self, param: &str, path: &str, value: Value) -> Self {
        let mut body = self.good.clone();
        let (parent, name) = place(&mut body, path);
        let what = format!("{path} = {:.60}", value.to_string());
        match parent {
            Value::Array(list) => list[name.parse::<usize>().unwrap()] = value,
            object => object[&name] = value,
        }
        self.cases.push(Case::invalid(what, body.to_string(), Some(param)));
        self
    }

    /// Something of its own that is wrong.
    pub fn case(mut self, case: Case) -> Self {
        self.cases.push(case);
        self
    }

    /// Everything it must refuse: what is wrong with its fields, and with any body at all.
    pub fn all(&self) -> Vec<Case> {
        let mut cases = self.cases.clone();
        if self.is_json {
            cases.extend(self.no_objects());
            cases.extend(self.no_json());
        }
        cases
    }

    /// Bodies that are no object, or no JSON.
    fn no_objects(&self) -> Vec<Case> {
        let good = self.good.to_string();
        let inner = &good[1..good.len() - 1];
        let comma = if inner.is_empty() { "" } else { "," };
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let invalid = |what: &str, body: Vec<u8>| Case::invalid(what, body, None);
        let mut cases = vec![
            invalid("half an object", good[..good.len() - 1].into()),
            invalid("no JSON", b"hello".to_vec()),
            invalid("an array", b"[]".to_vec()),
            invalid("the object in an array", format!("[{good}]").into()),
            invalid("its values in an array", values(&self.good).into()),
            invalid("null", b"null".to_vec()),
            invalid("a text", b"\"{}\"".to_vec()),
            invalid("a number", b"7".to_vec()),
            invalid("two values", format!("{good} {{}}").into()),
            invalid("something after it", format!("{good}x").into()),
            invalid("a comma too many", format!("{{{inner},}}").into()),
            invalid("deep nesting", format!("{{\"x\":{deep}{comma}{inner}}}").into()),
            invalid(
                "bytes that are no text",
                [b"{\"x\":\"\xff\xfe\"".as_slice(), comma.as_bytes(), inner.as_bytes(), b"}"].concat(),
            ),
            invalid("a mark of byte order", [b"\xef\xbb\xbf".as_slice(), good.as_bytes()].concat()),
            Case::invalid("an unknown field twice", format!("{{\"x\":1,\"x\":2{comma}{inner}}}"), Some("x")),
        ];
        for (name, value) in self.good.as_object().unwrap() {
            let twice = format!("{{\"{name}\":{value},{inner}}}");
            cases.push(Case::invalid(format!("{name} twice"), twice, Some(name)));
        }
        if self.first.is_some() {
            cases.push(Case { param: self.first.clone(), ..invalid("nothing", Vec::new()) });
            cases.push(Case { param: self.first.clone(), ..invalid("an empty object", b"{}".to_vec()) });
        }
        cases
    }

    /// Bodies that are not said to be JSON as it comes, or are longer than any.
    fn no_json(&self) -> Vec<Case> {
        let good = self.good.to_string();
        let other = |header: (&'static str, &'static str)| Case {
            headers: vec![header],
            status: 415,
            ..Case::invalid(header.1, good.clone(), None)
        };
        let mut cases: Vec<Case> = [
            ("content-type", "text/plain"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("content-type", "multipart/form-data; boundary=x"),
            ("content-type", ""),
            ("content-type", "application/json; charset=utf-16"),
            ("content-type", "application/json;charset=\"iso-8859-1\""),
            ("content-encoding", "gzip"),
            ("content-encoding", "br"),
            ("content-encoding", "identity, deflate"),
        ]
        .map(other)
        .into();
        cases.push(Case { headers: vec![("content-length", "99999999999")], status: 413, ..other(("", "too long")) });
        cases
    }
}

impl Case {
    /// A body that is refused with 400.
    pub fn invalid(what: impl Into<String>, body: impl Into<Vec<u8>>, param: Option<&str>) -> Self {
        let (what, body, param) = (what.into(), body.into(), param.map(str::to_owned));
        Self { what, query: "", headers: Vec::new(), body, status: 400, param }
    }
}

/// An object's values as a list: what some readers take for the object.
fn values(object: &Value) -> String {
    json!(object.as_object().unwrap().values().collect::<Vec<_>>()).to_string()
}

/// Where a path such as `a.b[0].c` ends: what holds its last part, and that part.
fn place<'a>(body: &'a mut Value, path: &str) -> (&'a mut Value, String) {
    let pointer = format!("/{}", path.replace(['.', '['], "/").replace(']', ""));
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    (body.pointer_mut(parent).unwrap_or_else(|| panic!("nothing holds {path}")), name.to_owned())
}
