//! UpdateFeatures: raises the cluster's feature level (KIP-584). Not here: which level which broker can run (the
//! controller's). Invariant: nothing is changed unless everything that was asked can be.
use crate::api::context::{Answer, Context};
use crate::api::error_code::{ErrorCode, Failure};
use crate::metadata::features::{self, LEVEL};
use crate::wire::header::Header;
use crate::wire::message::update_features_request::FeatureUpdateKey;
use crate::wire::message::update_features_response::UpdatableFeatureResult;
use crate::wire::message::{StrBytes, UpdateFeaturesRequest, UpdateFeaturesResponse};
use crate::wire::response::encode;

/// From this version on one error stands for all.
const NO_RESULTS: i16 = 2;

/// Handles one UpdateFeatures request.
pub fn handle(ctx: &Context, header: &Header, request: UpdateFeaturesRequest) -> Answer {
    let (ctx, header) = (ctx.clone(), header.clone());
    Answer::Later(Box::pin(async move {
        let outcome = update(&ctx, &request).await;
        encode(&header, &response(header.version, &request, outcome)).into()
    }))
}

async fn update(ctx: &Context, request: &UpdateFeaturesRequest) -> Result<(), Failure> {
    let level = match wanted(&request.feature_updates)? {
        Some(level) => level,
        None => return Ok(()),
    };
    let updated = ctx.shared.controller.update_feature_level(level, request.validate_only).await;
    updated.map_err(|error| Failure::of(&error))
}

/// The level that is asked for, if it is another feature than those that never change.
fn wanted(updates: &[FeatureUpdateKey]) -> Result<Option<u16>, Failure> {
    let refuse = |why: String| Err(Failure::new(ErrorCode::InvalidUpdateVersion, why));
    let mut level = None;
    for update in updates {
        let (name, asked) = (update.feature.as_str(), update.max_version_level);
        match features::fixed(name) {
            Some(fixed) if fixed == asked => {}
            Some(fixed) => return refuse(format!("{name} is {fixed} here and cannot be {asked}")),
            None if name == LEVEL => level = Some(u16::try_from(asked).unwrap_or(0)),
            None => return refuse(format!("there is no feature named {name}")),
        }
    }
    Ok(level)
}

fn response(
    version: i16,
    request: &UpdateFeaturesRequest,
    outcome: Result<(), Failure>,
) -> UpdateFeaturesResponse {
    let (code, message) = match outcome {
        Ok(()) => (ErrorCode::None, None),
        Err(failure) => (failure.code, failure.message.map(StrBytes::from_string)),
    };
    let response = UpdateFeaturesResponse::default().with_error_message(None);
    if version >= NO_RESULTS {
        return response.with_error_code(code.code()).with_error_message(message);
    }
    let results = request.feature_updates.iter().map(|update| {
        UpdatableFeatureResult::default()
            .with_feature(update.feature.clone())
            .with_error_code(code.code())
            .with_error_message(message.clone())
    });
    response.with_results(results.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(feature: &'static str, level: i16) -> FeatureUpdateKey {
        FeatureUpdateKey::default()
            .with_feature(StrBytes::from_static_str(feature))
            .with_max_version_level(level)
    }

    #[test]
    fn one_feature_can_be_raised_and_others_only_stay() {
        let fixed = features::fixed("metadata.version").expect("it is listed");
        assert_eq!(wanted(&[update("metadata.version", fixed)]), Ok(None));
        assert_eq!(wanted(&[update(LEVEL, 2), update("metadata.version", fixed)]), Ok(Some(2)));
        for (feature, level) in [("metadata.version", fixed - 1), ("nobody.version", 1)] {
            let refused = wanted(&[update(feature, level)]).unwrap_err();
            assert_eq!(refused.code, ErrorCode::InvalidUpdateVersion, "{feature}");
        }
    }

    #[test]
    fn old_versions_name_each_feature_and_new_ones_none() {
        let request = UpdateFeaturesRequest::default().with_feature_updates(vec![update("x", 1)]);
        let refused = || Err(Failure::new(ErrorCode::InvalidUpdateVersion, "no"));
        let old = response(1, &request, refused());
        assert_eq!((old.error_code, old.results[0].error_code), (0, 95));
        let new = response(2, &request, refused());
        assert_eq!((new.error_code, new.results.len()), (95, 0));
    }
}
