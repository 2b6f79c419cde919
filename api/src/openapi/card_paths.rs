//! Operations on credit that is bought by card.

use super::card_schemas as c;
use super::shape::operations;

operations! {
    /// Lists the organization's top-ups, newest first.
    #[utoipa::path(get, path = "/v1/credits/topups", operation_id = "listTopups", tag = "Account", security(("management" = [])),
        params(("limit" = Option<u32>, Query, description = "1 to 100, 20 when absent"), ("after" = Option<String>, Query, description = "The id the page begins behind")),
        responses((status = 200, description = "One page", body = c::TopupList)))]
    list_topups;

    /// Opens a page where credit is paid by card. The same wish gets the same page until it is paid or over.
    #[utoipa::path(post, path = "/v1/credits/topups", operation_id = "createTopup", tag = "Account", security(("management" = [])),
        request_body = c::CreateTopup,
        responses((status = 201, description = "The top-up", body = c::Topup)))]
    create_topup;

    /// One top-up.
    #[utoipa::path(get, path = "/v1/credits/topups/{topup}", operation_id = "retrieveTopup", tag = "Account", security(("management" = [])),
        params(("topup" = String, Path)),
        responses((status = 200, description = "The top-up", body = c::Topup)))]
    retrieve_topup;

    /// Sends unspent bought credit back to its card: all that is asked for, or nothing.
    #[utoipa::path(post, path = "/v1/credits/refunds", operation_id = "createRefund", tag = "Account", security(("management" = [])),
        request_body = c::CreateRefund,
        responses((status = 201, description = "Its parts", body = c::RefundList)))]
    create_refund;

    /// Takes a card webhook of Stripe, signed over its raw body.
    #[utoipa::path(post, path = "/hooks/stripe", operation_id = "receiveStripeEvent", tag = "Operation", security(()),
        request_body = super::shape::JsonObject,
        responses((status = 200, description = "Taken")))]
    receive_stripe_event;
}
