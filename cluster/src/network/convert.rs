//! Turns the Raft library's requests and answers into messages and back. Its types never leave this package.

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use rookery_proto::rookery::cluster::v1 as proto;
use rookery_proto::rookery::cluster::v1::append_entries_response::Result as Outcome;

use crate::raft::{Entry, LogId, TypeConfig, Vote};
use crate::record::{self, LogIdRecord, RecordError, VoteRecord};

/// Why a message makes no sense.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConvertError {
    #[error("the message has no vote")]
    NoVote,
    #[error("the message says nothing")]
    Empty,
    #[error("an entry of the message is not valid: {0}")]
    Entry(#[from] RecordError),
}

pub(crate) fn log_id_message(id: &LogId) -> proto::LogId {
    let LogIdRecord { term, leader_id, index } = LogIdRecord::from(id);
    proto::LogId { term, leader_id, index }
}

pub(crate) fn log_id(message: proto::LogId) -> LogId {
    let proto::LogId { term, leader_id, index } = message;
    LogIdRecord { term, leader_id, index }.into()
}

pub(crate) fn vote_message(vote: &Vote) -> proto::VoteId {
    let VoteRecord { term, node_id, committed } = VoteRecord::from(vote);
    proto::VoteId { term, node_id, committed }
}

pub(crate) fn vote(message: Option<proto::VoteId>) -> Result<Vote, ConvertError> {
    let proto::VoteId { term, node_id, committed } = message.ok_or(ConvertError::NoVote)?;
    Ok(VoteRecord { term, node_id, committed }.into())
}

pub(crate) fn append_message(request: &AppendEntriesRequest<TypeConfig>) -> proto::AppendEntriesRequest {
    proto::AppendEntriesRequest {
        vote: Some(vote_message(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id_message),
        leader_commit: request.leader_commit.as_ref().map(log_id_message),
        entries: request.entries.iter().map(|entry| record::encode_entry(entry).into()).collect(),
    }
}

pub(crate) fn append_request(
    message: proto::AppendEntriesRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, ConvertError> {
    let entries: Result<Vec<Entry>, RecordError> =
        message.entries.into_iter().map(record::decode_entry).collect();
    Ok(AppendEntriesRequest {
        vote: vote(message.vote)?,
        prev_log_id: message.previous.map(log_id),
        leader_commit: message.leader_commit.map(log_id),
        entries: entries?,
    })
}

pub(crate) fn append_answer_message(answer: &AppendEntriesResponse<u64>) -> proto::AppendEntriesResponse {
    let mut message = proto::AppendEntriesResponse::default();
    message.result = match answer {
        AppendEntriesResponse::Success => Some(Outcome::Success(proto::Empty {})),
        AppendEntriesResponse::PartialSuccess(Some(matching)) => {
            Some(Outcome::PartialSuccess(log_id_message(matching)))
        }
        AppendEntriesResponse::PartialSuccess(None) => {
            message.partial_success_none = true;
            None
        }
        AppendEntriesResponse::Conflict => Some(Outcome::Conflict(proto::Empty {})),
        AppendEntriesResponse::HigherVote(vote) => Some(Outcome::HigherVote(vote_message(vote))),
    };
    message
}

pub(crate) fn append_answer(
    message: proto::AppendEntriesResponse,
) -> Result<AppendEntriesResponse<u64>, ConvertError> {
    match message.result {
        Some(Outcome::Success(proto::Empty {})) => Ok(AppendEntriesResponse::Success),
        Some(Outcome::PartialSuccess(matching)) => {
            Ok(AppendEntriesResponse::PartialSuccess(Some(log_id(matching))))
        }
        Some(Outcome::Conflict(proto::Empty {})) => Ok(AppendEntriesResponse::Conflict),
        Some(Outcome::HigherVote(higher)) => Ok(AppendEntriesResponse::HigherVote(vote(Some(higher))?)),
        None if message.partial_success_none => Ok(AppendEntriesResponse::PartialSuccess(None)),
        None => Err(ConvertError::Empty),
    }
}

pub(crate) fn vote_request_message(request: &VoteRequest<u64>) -> proto::VoteRequest {
    proto::VoteRequest {
        vote: Some(vote_message(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(log_id_message),
    }
}

pub(crate) fn vote_request(message: proto::VoteRequest) -> Result<VoteRequest<u64>, ConvertError> {
    Ok(VoteRequest { vote: vote(message.vote)?, last_log_id: message.last_log_id.map(log_id) })
}

pub(crate) fn vote_answer_message(answer: &VoteResponse<u64>) -> proto::VoteResponse {
    proto::VoteResponse {
        vote: Some(vote_message(&answer.vote)),
        granted: answer.vote_granted,
        last_log_id: answer.last_log_id.as_ref().map(log_id_message),
    }
}

pub(crate) fn vote_answer(message: proto::VoteResponse) -> Result<VoteResponse<u64>, ConvertError> {
    Ok(VoteResponse {
        vote: vote(message.vote)?,
        vote_granted: message.granted,
        last_log_id: message.last_log_id.map(log_id),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use openraft::{CommittedLeaderId, EntryPayload};

    use super::*;
    use crate::raft::Payload;
    use crate::record::Batch;

    fn id(index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(7, 2), index)
    }

    #[test]
    fn entries_come_back() {
        let request = AppendEntriesRequest::<TypeConfig> {
            vote: Vote::new_committed(7, 2),
            prev_log_id: Some(id(4)),
            leader_commit: None,
            entries: vec![
                Entry { log_id: id(5), payload: EntryPayload::Blank },
                Entry { log_id: id(6), payload: EntryPayload::Normal(Payload(Arc::new(Batch::default()))) },
            ],
        };
        let back = append_request(append_message(&request)).unwrap();
        assert_eq!((back.vote, back.prev_log_id, back.leader_commit), (request.vote, Some(id(4)), None));
        assert!(back.entries == request.entries);
        let without_vote = proto::AppendEntriesRequest { vote: None, ..append_message(&request) };
        assert!(matches!(append_request(without_vote), Err(ConvertError::NoVote)));
        let garbage = proto::AppendEntriesRequest {
            entries: vec![bytes::Bytes::from_static(b"\x01\xff")],
            ..append_message(&request)
        };
        assert!(matches!(append_request(garbage), Err(ConvertError::Entry(_))));
    }

    #[test]
    fn every_answer_comes_back() {
        let answers = [
            AppendEntriesResponse::Success,
            AppendEntriesResponse::PartialSuccess(None),
            AppendEntriesResponse::PartialSuccess(Some(id(3))),
            AppendEntriesResponse::Conflict,
            AppendEntriesResponse::HigherVote(Vote::new(8, 3)),
        ];
        for answer in answers {
            assert_eq!(append_answer(append_answer_message(&answer)).unwrap(), answer);
        }
        assert!(matches!(append_answer(proto::AppendEntriesResponse::default()), Err(ConvertError::Empty)));
        let vote = VoteResponse { vote: Vote::new(8, 3), vote_granted: true, last_log_id: Some(id(2)) };
        assert_eq!(vote_answer(vote_answer_message(&vote)).unwrap(), vote);
        let request = VoteRequest { vote: Vote::new(8, 3), last_log_id: None };
        assert_eq!(vote_request(vote_request_message(&request)).unwrap(), request);
    }
}
