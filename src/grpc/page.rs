//! The length of a page: what is asked for, and what fits into a message.

use prost::Message;

use super::violations::Violations;

const PAGE_SIZE_DEFAULT: u16 = 50;
const PAGE_SIZE_MAX: u16 = 1_000;
/// A page ends early rather than grow past this, but for a single member.
const PAGE_BYTES_MAX: usize = 3 << 20;

/// How many members to list; more than there can be are taken as many as there can be.
pub fn read_page_size(violations: &mut Violations, page_size: i32) -> Option<u16> {
    let limit = match page_size {
        0 => Some(PAGE_SIZE_DEFAULT),
        size if size < 0 => None,
        size => Some(u16::try_from(size).unwrap_or(PAGE_SIZE_MAX).min(PAGE_SIZE_MAX)),
    };
    violations.require("page_size", limit, "must be at least 0")
}

/// How many members fit into a page, at least one: clients take no message above 4 MiB by default.
pub fn fitting<M: Message>(members: &[M]) -> usize {
    let mut bytes = 0;
    let fits = members.iter().take_while(|member| {
        bytes += member.encoded_len();
        bytes <= PAGE_BYTES_MAX
    });
    fits.count().max(1)
}
