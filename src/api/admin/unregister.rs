//! UnregisterBroker: forgets a broker that is gone for good. Not here: when that is allowed (the controller's).
//! Invariant: success means that no metadata names the broker any more.
use firnline_controller::id::BrokerId;

use crate::api::context::{Answer, Context};
use crate::api::error_code::Failure;
use crate::wire::header::Header;
use crate::wire::message::{StrBytes, UnregisterBrokerRequest, UnregisterBrokerResponse};
use crate::wire::response::encode;

/// Handles one UnregisterBroker request.
pub fn handle(ctx: &Context, header: &Header, request: &UnregisterBrokerRequest) -> Answer {
    let (ctx, header, id) = (ctx.clone(), header.clone(), BrokerId(request.broker_id.0));
    Answer::Later(Box::pin(async move {
        let response = UnregisterBrokerResponse::default();
        let response = match ctx.shared.controller.unregister_broker(id).await {
            Ok(_) => response.with_error_message(None),
            Err(error) => {
                let failure = Failure::of(&error);
                response
                    .with_error_code(failure.code.code())
                    .with_error_message(failure.message.map(StrBytes::from_string))
            }
        };
        encode(&header, &response).into()
    }))
}
