//! Operations on credit that is bought by card.

use super::account_schemas as a;
use super::card_schemas as c;
use super::shape::operations;
use super::standing as r;

operations! {
    /// Lists the organization's top-ups, newest first.
    #[utoipa::path(get, path = "/v1/credits/topups", operation_id = "listTopups", tag = "Account", security(("management" = [])),
        params(("limit" = Option<u32>, Query, description = "1 to 100, 20 when absent"), ("after" = Option<String>, Query, description = "The id the page begins behind")),
        responses((status = 200, description = "One page", body = c::TopupList)))]
    list_topups;

    /// Opens a page where credit is paid by card. The same wish gets the same page until it is paid or over.
    #[utoipa::path(post, path = "/v1/credits/topups", operation_id = "createTopup", tag = "Account", security(("management" = [])),
        request_body = c::CreateTopup,
        responses((status = 201, description = "The top-up", body = c::Topup), r::Limited))]
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

    /// Lists the organization's saved cards, newest first.
    #[utoipa::path(get, path = "/v1/credits/payment_methods", operation_id = "listPaymentMethods", tag = "Account", security(("management" = [])),
        params(("limit" = Option<u32>, Query, description = "1 to 100, 20 when absent"), ("after" = Option<String>, Query, description = "The id the page begins behind")),
        responses((status = 200, description = "One page", body = c::PaymentMethodList)))]
    list_payment_methods;

    /// Opens a page where a card is saved. A card is saved with a top-up, too.
    #[utoipa::path(post, path = "/v1/credits/payment_methods", operation_id = "createPaymentMethod", tag = "Account", security(("management" = [])),
        request_body = c::CreatePaymentMethod,
        responses((status = 201, description = "The page", body = c::PaymentMethodSetup), r::Limited))]
    create_payment_method;

    /// One saved card.
    #[utoipa::path(get, path = "/v1/credits/payment_methods/{payment_method}", operation_id = "retrievePaymentMethod", tag = "Account", security(("management" = [])),
        params(("payment_method" = String, Path)),
        responses((status = 200, description = "The card", body = c::PaymentMethod)))]
    retrieve_payment_method;

    /// Removes a card: it is not charged any more. A rule that charges it stops.
    #[utoipa::path(delete, path = "/v1/credits/payment_methods/{payment_method}", operation_id = "deletePaymentMethod", tag = "Account", security(("management" = [])),
        params(("payment_method" = String, Path)),
        responses((status = 200, description = "It is gone", body = a::DeletedObject)))]
    delete_payment_method;

    /// Makes a card the one that is meant when none is named.
    #[utoipa::path(post, path = "/v1/credits/payment_methods/{payment_method}/default", operation_id = "setDefaultPaymentMethod", tag = "Account", security(("management" = [])),
        params(("payment_method" = String, Path)),
        responses((status = 200, description = "The card", body = c::PaymentMethod)))]
    set_default_payment_method;

    /// The rule that charges a saved card when credit runs low.
    #[utoipa::path(get, path = "/v1/credits/auto_recharge", operation_id = "retrieveAutoRecharge", tag = "Account", security(("management" = [])),
        responses((status = 200, description = "The rule", body = c::AutoRecharge), r::Named))]
    retrieve_auto_recharge;

    /// Sets the rule. One that had stopped acts again.
    #[utoipa::path(put, path = "/v1/credits/auto_recharge", operation_id = "replaceAutoRecharge", tag = "Account", security(("management" = [])),
        request_body = c::SetAutoRecharge,
        responses((status = 200, description = "The rule", body = c::AutoRecharge)))]
    replace_auto_recharge;

    /// Takes the rule away. Again is harmless.
    #[utoipa::path(delete, path = "/v1/credits/auto_recharge", operation_id = "deleteAutoRecharge", tag = "Account", security(("management" = [])),
        responses((status = 200, description = "It is gone", body = a::DeletedSetting)))]
    delete_auto_recharge;

    /// What came and went, newest first, with the balance after each. Usage is one entry for each UTC day.
    #[utoipa::path(get, path = "/v1/credits/history", operation_id = "listCreditHistory", tag = "Account", security(("management" = [])),
        params(("limit" = Option<u32>, Query, description = "1 to 100, 20 when absent"), ("after" = Option<String>, Query, description = "The id the page begins behind")),
        responses((status = 200, description = "One page", body = c::CreditEntryList)))]
    list_credit_history;

    /// Takes a card webhook of Stripe, signed over its raw body.
    #[utoipa::path(post, path = "/hooks/stripe", operation_id = "receiveStripeEvent", tag = "Operation", security(()),
        request_body = super::shape::JsonObject,
        responses((status = 200, description = "Taken")))]
    receive_stripe_event;
}
