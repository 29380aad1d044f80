//! Which scope each method needs. A test holds this table against the contract: a method that is missing
//! here is refused to everybody, and fails the test.

use crate::authorize::Needed;

/// Services that everybody may call.
const OPEN: [&str; 3] = [
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];

/// Whether a path (`/grpc.health.v1.Health/Check`) is open; every other one needs a caller.
#[must_use]
pub fn is_open(path: &str) -> bool {
    OPEN.iter().any(|service| path.starts_with(service))
}

const AUTHORIZE: [&str; 8] = [
    "keystile.v1.AuthorizeService/Authorize",
    "keystile.v1.AuthorizeService/BatchAuthorize",
    "keystile.v1.AuthorizeService/AuthorizeStream",
    "keystile.v1.AuthorizeService/FilterModels",
    "keystile.v1.AuthorizeService/ReportUsage",
    "keystile.v1.AuthorizeService/CancelAuthorization",
    "keystile.v1.AuthorizeService/IntrospectKey",
    "keystile.v1.AuditService/RecordPluginEvent",
];

const READ: [&str; 12] = [
    "keystile.v1.KeyService/GetKey",
    "keystile.v1.KeyService/ListKeys",
    "keystile.v1.KeyService/LookupKey",
    "keystile.v1.KeyService/GetOwner",
    "keystile.v1.KeyService/ListOwners",
    "keystile.v1.KeyService/GetUsage",
    "keystile.v1.KeyService/QueryUsage",
    "keystile.v1.KeyService/ListUsageRecords",
    "keystile.v1.KeyService/WatchKeys",
    "keystile.v1.BudgetService/GetBudget",
    "keystile.v1.BudgetService/ListBudgets",
    "keystile.v1.AuditService/ListAuditEvents",
];

const ADMIN: [&str; 19] = [
    "keystile.v1.KeyService/CreateKey",
    "keystile.v1.KeyService/UpdateKey",
    "keystile.v1.KeyService/RotateKey",
    "keystile.v1.KeyService/RevokeKey",
    "keystile.v1.KeyService/ReactivateKey",
    "keystile.v1.KeyService/DeleteKey",
    "keystile.v1.KeyService/UndeleteKey",
    "keystile.v1.KeyService/SetExpiration",
    "keystile.v1.KeyService/ExtendExpiration",
    "keystile.v1.KeyService/ClearExpiration",
    "keystile.v1.KeyService/AddGrants",
    "keystile.v1.KeyService/RemoveGrants",
    "keystile.v1.KeyService/DisableOwner",
    "keystile.v1.KeyService/EnableOwner",
    "keystile.v1.KeyService/SetOwnerLimits",
    "keystile.v1.BudgetService/CreateBudget",
    "keystile.v1.BudgetService/UpdateBudget",
    "keystile.v1.BudgetService/DeleteBudget",
    "keystile.v1.BudgetService/ResetBudget",
];

/// Methods whose answers last as long as their callers want: these are judged again all the time.
const STREAMS: [&str; 2] =
    ["keystile.v1.AuthorizeService/AuthorizeStream", "keystile.v1.KeyService/WatchKeys"];

/// Whether a method answers with a stream.
#[must_use]
pub fn is_stream(method: &str) -> bool {
    STREAMS.contains(&method)
}

/// What a method (`keystile.v1.KeyService/GetKey`) needs; `None` for one that the table does not know.
#[must_use]
pub fn needed(method: &str) -> Option<Needed> {
    let tables =
        [(&AUTHORIZE[..], Needed::Authorize), (&READ[..], Needed::Read), (&ADMIN[..], Needed::Admin)];
    tables.into_iter().find(|(methods, _)| methods.contains(&method)).map(|(_, needed)| needed)
}

/// Every method of the contract.
pub fn methods() -> impl Iterator<Item = &'static str> {
    AUTHORIZE.into_iter().chain(READ).chain(ADMIN)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::grpc::pb::FILE_DESCRIPTOR_SET;

    #[test]
    fn the_streams_are_those_of_the_contract() {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let name = format!("{}/{}", method.parent_service().full_name(), method.name());
            assert_eq!(is_stream(&name), method.is_server_streaming(), "{name}");
        }
    }

    #[test]
    fn every_method_of_the_contract_is_in_the_table_and_nothing_else() {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let contract: BTreeSet<String> = pool
            .services()
            .flat_map(|service| {
                let service_name = service.full_name().to_owned();
                service
                    .methods()
                    .map(move |method| format!("{service_name}/{}", method.name()))
                    .collect::<Vec<_>>()
            })
            .collect();
        let table: BTreeSet<String> = methods().map(str::to_owned).collect();
        assert_eq!(contract, table);
        assert_eq!(table.len(), AUTHORIZE.len() + READ.len() + ADMIN.len(), "a method stands twice");
    }
}
