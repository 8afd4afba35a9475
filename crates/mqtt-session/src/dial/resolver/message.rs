//! Queries and answers in bytes (RFC 1035).
//!
//! Bytes from the network are parsed by simple-dns, after the checks that limit its memory: it
//! makes room for as many records as the header announces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Label, Name, OPCODE, Packet, PacketFlag, RCODE, ResourceRecord, TYPE};

use super::outcome::{Failure, Outcome};
use super::schedule::Complaint;
use crate::dial::race::Family;

/// The header, in bytes.
const HEADER: usize = 12;

/// The header of a query behind the id: recursion desired, one question. Written here, because the
/// writer of simple-dns brings that of each type of record into the binary.
const HEADER_OF_QUERY: [u8; 10] = [1, 0, 0, 1, 0, 0, 0, 0, 0, 0];

/// Shortest record, in bytes: the root, type, class, lifetime, no data.
const MIN_RECORD: usize = 11;

/// Longest chain of aliases.
const MAX_ALIASES: usize = 16;

/// Most addresses that are used.
const MAX_ADDRESSES: usize = 64;

/// Longest label, in bytes.
const MAX_LABEL: usize = 63;

/// Longest name as text, without a trailing dot.
const MAX_NAME: usize = 253;

/// The bit of the header that is reserved, in its fourth byte.
const RESERVED: u8 = 0b0100_0000;

/// A message of a name server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Answer(Outcome),
    Complaint(Complaint),
    /// The answer is longer than allowed for UDP.
    Truncated,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a> {
    pub(super) name: &'a str,
    pub(super) family: Family,
}

/// Whether name servers can be asked for this name.
pub(super) fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_graphic())
    };
    name.len() <= MAX_NAME && name.split('.').all(is_label)
}

impl Query<'_> {
    fn kind(&self) -> TYPE {
        match self.family {
            Family::V6 => TYPE::AAAA,
            Family::V4 => TYPE::A,
        }
    }

    fn labels(&self) -> Vec<Label<'_>> {
        self.name.split('.').map(|label| Label::new_unchecked(label.as_bytes())).collect()
    }

    /// The message with the question. `None` if the name is not possible.
    pub(super) fn bytes(&self, id: u16) -> Option<Vec<u8>> {
        if !is_name(self.name) {
            return None;
        }
        let mut message = Vec::from(id.to_be_bytes());
        message.extend(HEADER_OF_QUERY);
        for label in self.name.split('.') {
            message.push(u8::try_from(label.len()).ok()?);
            message.extend(label.bytes());
        }
        message.push(0);
        message.extend(u16::from(self.kind()).to_be_bytes());
        message.extend((CLASS::IN as u16).to_be_bytes());
        Some(message)
    }

    /// What a message means. `None` if it is no answer to the question with this id.
    pub(super) fn read(&self, message: &[u8], id: u16) -> Option<Reply> {
        let mut message = message.to_vec();
        let (header, body) = message.split_first_chunk_mut::<HEADER>()?;
        let [id_high, id_low, _, flags, questions @ .., _, _, _, _, _, _] = header;
        let is_wanted = [*id_high, *id_low] == id.to_be_bytes();
        if !is_wanted || u16::from_be_bytes(*questions) > 1 {
            return None;
        }
        *flags &= !RESERVED;
        // Of the records, only the answers are of use, and they only once the question is right.
        let [_, _, _, _, _, _, records @ ..] = header;
        let [answers_high, answers_low, ..] = *records;
        let answers = [answers_high, answers_low];
        records.fill(0);
        let is_possible = usize::from(u16::from_be_bytes(answers)) <= body.len() / MIN_RECORD;

        let packet = Packet::parse(&message).ok()?;
        if packet.opcode() != OPCODE::StandardQuery || !packet.has_flags(PacketFlag::RESPONSE) {
            return None;
        }
        let complaint = match packet.rcode() {
            RCODE::NoError | RCODE::NameError => None,
            RCODE::FormatError | RCODE::NotImplemented | RCODE::Refused => Some(Complaint::Refused),
            _ => Some(Complaint::Failed),
        };
        let name = Name::new_with_labels(&self.labels());
        match packet.questions.as_slice() {
            [question]
                if question.qname == name
                    && question.qtype == self.kind().into()
                    && question.qclass == CLASS::IN.into() => {}
            // A name server that does not understand the question need not repeat it.
            [] if complaint.is_some() => {}
            _ => return None,
        }
        if let Some(complaint) = complaint {
            return Some(Reply::Complaint(complaint));
        }
        if packet.has_flags(PacketFlag::TRUNCATION) {
            return Some(Reply::Truncated);
        }
        if packet.rcode() == RCODE::NameError {
            return Some(Reply::Answer(Outcome::Failure(Failure::NoName)));
        }
        // It neither knows the name nor asks others.
        let is_lame = answers == [0, 0]
            && !packet.has_flags(PacketFlag::AUTHORITATIVE_ANSWER)
            && !packet.has_flags(PacketFlag::RECURSION_AVAILABLE);
        if is_lame || !is_possible {
            return Some(Reply::Complaint(Complaint::Failed));
        }
        drop(packet);
        message.get_mut(6..8)?.copy_from_slice(&answers);
        let Ok(packet) = Packet::parse(&message) else {
            return Some(Reply::Complaint(Complaint::Failed));
        };
        Some(Reply::Answer(self.outcome(&name, &packet.answers)))
    }

    /// The addresses of the name, or of the name that it is an alias of.
    fn outcome<'a>(&self, name: &'a Name<'a>, records: &'a [ResourceRecord<'a>]) -> Outcome {
        let mut owner = name;
        for _ in 0..MAX_ALIASES {
            let alias = of(records, owner).find_map(|record| match &record.rdata {
                RData::CNAME(target) => Some(&target.0),
                _ => None,
            });
            match alias {
                Some(target) => owner = target,
                None => break,
            }
        }
        let addresses =
            of(records, owner).filter_map(|record| match (&record.rdata, self.family) {
                (RData::A(a), Family::V4) => Some(IpAddr::from(Ipv4Addr::from(a.address))),
                (RData::AAAA(aaaa), Family::V6) => Some(Ipv6Addr::from(aaaa.address).into()),
                _ => None,
            });
        match addresses.take(MAX_ADDRESSES).collect::<Vec<_>>() {
            addresses if addresses.is_empty() => Outcome::Failure(Failure::NoData),
            addresses => Outcome::Found(addresses),
        }
    }
}

/// The records of a name.
fn of<'a>(
    records: &'a [ResourceRecord<'a>],
    owner: &'a Name<'a>,
) -> impl Iterator<Item = &'a ResourceRecord<'a>> {
    records.iter().filter(move |record| record.class == CLASS::IN && record.name == *owner)
}

#[cfg(test)]
mod tests;
