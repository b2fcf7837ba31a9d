//! How a link's messages become bytes.
//!
//! As usual, except that room for a message is made once: the usual way lets the buffer grow while a message of 256 KiB
//! is copied into it, and so copies most of it twice.

use prost::Message;
use rookery_proto::rookery::cluster::v1::{DeliverRequest, DeliverResponse};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// The sending side of `Link.Deliver`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct DeliverCodec;

impl Codec for DeliverCodec {
    type Encode = DeliverRequest;
    type Decode = DeliverResponse;
    type Encoder = DeliverCodec;
    type Decoder = DeliverCodec;

    fn encoder(&mut self) -> DeliverCodec {
        DeliverCodec
    }

    fn decoder(&mut self) -> DeliverCodec {
        DeliverCodec
    }
}

impl Encoder for DeliverCodec {
    type Item = DeliverRequest;
    type Error = Status;

    fn encode(&mut self, request: DeliverRequest, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(request.encoded_len());
        request.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for DeliverCodec {
    type Item = DeliverResponse;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<DeliverResponse>, Status> {
        DeliverResponse::decode(buffer).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
