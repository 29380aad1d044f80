//! What is known of each method before a message is read: which scope it needs, and whether its answer is a stream. A
//! test holds this table against the contract: a method that is missing here is refused to everybody, and fails the test.

use crate::authorize::Needed;

/// A method that is served, or is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// `keystile.v1.KeyService/GetKey`.
    pub name: &'static str,
    /// What its caller needs; `None` where everybody may call it.
    pub needed: Option<Needed>,
    /// Its answer lasts as long as its caller wants.
    pub is_stream: bool,
}

impl Method {
    const fn new(name: &'static str, needed: Option<Needed>) -> Self {
        Self { name, needed, is_stream: false }
    }

    const fn streaming(self) -> Self {
        Self { is_stream: true, ..self }
    }

    /// Whether it is one of the contract, and not health or reflection.
    #[must_use]
    pub const fn is_of_contract(&self) -> bool {
        self.needed.is_some()
    }
}

const fn open(name: &'static str) -> Method {
    Method::new(name, None)
}

const fn authorize(name: &'static str) -> Method {
    Method::new(name, Some(Needed::Authorize))
}

const fn read(name: &'static str) -> Method {
    Method::new(name, Some(Needed::Read))
}

const fn admin(name: &'static str) -> Method {
    Method::new(name, Some(Needed::Admin))
}

/// All of them, by name.
static METHODS: [Method; 44] = [
    open("grpc.health.v1.Health/Check"),
    open("grpc.health.v1.Health/List"),
    open("grpc.health.v1.Health/Watch").streaming(),
    open("grpc.reflection.v1.ServerReflection/ServerReflectionInfo").streaming(),
    open("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo").streaming(),
    read("keystile.v1.AuditService/ListAuditEvents"),
    authorize("keystile.v1.AuditService/RecordPluginEvent"),
    authorize("keystile.v1.AuthorizeService/Authorize"),
    authorize("keystile.v1.AuthorizeService/AuthorizeStream").streaming(),
    authorize("keystile.v1.AuthorizeService/BatchAuthorize"),
    authorize("keystile.v1.AuthorizeService/CancelAuthorization"),
    authorize("keystile.v1.AuthorizeService/FilterModels"),
    authorize("keystile.v1.AuthorizeService/IntrospectKey"),
    authorize("keystile.v1.AuthorizeService/ReportUsage"),
    admin("keystile.v1.BudgetService/CreateBudget"),
    admin("keystile.v1.BudgetService/DeleteBudget"),
    read("keystile.v1.BudgetService/GetBudget"),
    read("keystile.v1.BudgetService/ListBudgets"),
    admin("keystile.v1.BudgetService/ResetBudget"),
    admin("keystile.v1.BudgetService/UpdateBudget"),
    admin("keystile.v1.KeyService/AddGrants"),
    admin("keystile.v1.KeyService/ClearExpiration"),
    admin("keystile.v1.KeyService/CreateKey"),
    admin("keystile.v1.KeyService/DeleteKey"),
    admin("keystile.v1.KeyService/DisableOwner"),
    admin("keystile.v1.KeyService/EnableOwner"),
    admin("keystile.v1.KeyService/ExtendExpiration"),
    read("keystile.v1.KeyService/GetKey"),
    read("keystile.v1.KeyService/GetOwner"),
    read("keystile.v1.KeyService/GetUsage"),
    read("keystile.v1.KeyService/ListKeys"),
    read("keystile.v1.KeyService/ListOwners"),
    read("keystile.v1.KeyService/ListUsageRecords"),
    read("keystile.v1.KeyService/LookupKey"),
    read("keystile.v1.KeyService/QueryUsage"),
    admin("keystile.v1.KeyService/ReactivateKey"),
    admin("keystile.v1.KeyService/RemoveGrants"),
    admin("keystile.v1.KeyService/RevokeKey"),
    admin("keystile.v1.KeyService/RotateKey"),
    admin("keystile.v1.KeyService/SetExpiration"),
    admin("keystile.v1.KeyService/SetOwnerLimits"),
    admin("keystile.v1.KeyService/UndeleteKey"),
    admin("keystile.v1.KeyService/UpdateKey"),
    read("keystile.v1.KeyService/WatchKeys").streaming(),
];

/// Services that everybody may call.
const OPEN: [&str; 3] = [
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];

/// The method that a path (`/keystile.v1.KeyService/GetKey`) calls; `None` for one that the table does not know.
#[must_use]
pub fn method(path: &str) -> Option<&'static Method> {
    let name = path.strip_prefix('/')?;
    let place = METHODS.binary_search_by(|method| method.name.cmp(name)).ok()?;
    METHODS.get(place)
}

/// Whether a path is of a service that everybody may call; every other one needs a caller.
#[must_use]
pub fn is_open(path: &str) -> bool {
    OPEN.iter().any(|service| path.starts_with(service))
}

/// What the method of a path needs; `None` for one that the table does not know, or that needs nothing.
#[must_use]
pub fn needed(path: &str) -> Option<Needed> {
    method(path)?.needed
}

/// Every method, those beside the contract too.
pub fn methods() -> impl Iterator<Item = &'static Method> {
    METHODS.iter()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::grpc::pb::FILE_DESCRIPTOR_SET;

    #[test]
    fn every_method_of_the_contract_is_in_the_table_and_nothing_else() {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        let contract: BTreeSet<(String, bool)> = methods
            .map(|method| {
                let name = format!("{}/{}", method.parent_service().full_name(), method.name());
                (name, method.is_server_streaming())
            })
            .collect();
        let ours = methods_of_contract().map(|method| (method.name.to_owned(), method.is_stream));
        assert_eq!(contract, ours.collect());
    }

    fn methods_of_contract() -> impl Iterator<Item = &'static Method> {
        methods().filter(|method| method.is_of_contract())
    }

    #[test]
    fn the_table_is_sorted_and_finds_each() {
        assert!(METHODS.is_sorted_by(|one, next| one.name < next.name), "or a search misses some");
        for known in methods() {
            let path = format!("/{}", known.name);
            assert_eq!(method(&path), Some(known));
            assert_eq!(is_open(&path), !known.is_of_contract());
        }
        for unknown in ["", "/", "keystile.v1.KeyService/GetKey", "/keystile.v1.KeyService/getkey"] {
            assert_eq!(method(unknown), None, "{unknown}");
        }
    }
}
