//! InitProducerId for idempotent producers: every call gets an id nobody had, epoch 0. A transactional id is refused
//! until transactions exist, with the one code that librdkafka does not retry.
//! Invariant: an answered id is never answered again.
use crate::api::context::{Answer, Context};
use crate::api::error_code::ErrorCode;
use crate::wire::header::Header;
use crate::wire::message::{InitProducerIdRequest, InitProducerIdResponse};
use crate::wire::response::encode;

/// Handles one InitProducerId request.
pub fn handle(ctx: &Context, header: &Header, request: InitProducerIdRequest) -> Answer {
    let failed = |code: ErrorCode| InitProducerIdResponse::default().with_error_code(code.code());
    match request.transactional_id.as_deref().map(|id| id.as_str()) {
        Some("") => return encode(header, &failed(ErrorCode::InvalidRequest)).into(),
        Some(id) => {
            if ctx.shared.transactions_refused.first(header.client()) {
                tracing::warn!(
                    client = header.client(),
                    transactional_id = id,
                    "transactions are not built yet"
                );
            }
            return encode(header, &failed(ErrorCode::TransactionalIdAuthorizationFailed)).into();
        }
        None => {}
    }
    let (ctx, header) = (ctx.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let response = match ctx.shared.producer_ids.next(&ctx.shared.controller).await {
            Ok(id) => InitProducerIdResponse::default().with_producer_id(id.into()).with_producer_epoch(0),
            Err(error) => {
                tracing::warn!(client = header.client(), %error, "no producer id");
                failed(ErrorCode::from(&error))
            }
        };
        encode(&header, &response).into()
    }))
}
