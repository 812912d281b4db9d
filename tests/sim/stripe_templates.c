/*
 * What an object of each type looks like before anything is set: every member its schema
 * requires, at its most common value. Single quotes stand for double ones (st_app parses them
 * once at the start); no value may therefore contain either.
 */
#include "stripe_templates.h"

const char st_template_customer[] =
    "{'id':'','object':'customer','address':null,'balance':0,'created':0,'currency':'usd'"
    ",'default_source':null,'delinquent':false,'description':null,'discount':null"
    ",'email':null,'invoice_prefix':null,'invoice_settings':{'custom_fields':null,"
    "'default_payment_method':null,'footer':null,'rendering_options':null}"
    ",'livemode':false,'metadata':{},'name':null,'next_invoice_sequence':1,'phone':null"
    ",'preferred_locales':[],'shipping':null,'tax_exempt':'none','test_clock':null}";

const char st_template_subscription[] =
    "{'id':'','object':'subscription','application':null,'application_fee_percent':null"
    ",'automatic_tax':{'disabled_reason':null,'enabled':false,'liability':null}"
    ",'billing_cycle_anchor':0,'billing_cycle_anchor_config':null"
    ",'billing_mode':{'flexible':null,'type':'classic'},'billing_schedules':[]"
    ",'billing_thresholds':null,'cancel_at':null,'cancel_at_period_end':false"
    ",'canceled_at':null,'cancellation_details':{'comment':null,'feedback':null,"
    "'feedback_option':null,'reason':null},'collection_method':'charge_automatically'"
    ",'created':0,'currency':'usd','customer':'','customer_account':null"
    ",'days_until_due':null,'default_payment_method':null,'default_source':null"
    ",'default_tax_rates':[],'description':null,'discounts':[],'ended_at':null"
    ",'invoice_settings':{'account_tax_ids':null,'custom_fields':null,'description':null,"
    "'footer':null,'issuer':{'type':'self'}},'items':{'object':'list','data':[],"
    "'has_more':false,'url':''},'latest_invoice':null,'livemode':false"
    ",'managed_payments':null,'metadata':{},'next_pending_invoice_item_invoice':null"
    ",'on_behalf_of':null,'pause_collection':null"
    ",'payment_settings':{'payment_method_options':null,'payment_method_types':null,"
    "'save_default_payment_method':'off'},'pending_invoice_item_interval':null"
    ",'pending_setup_intent':null,'pending_update':null,'schedule':null,'start_date':0"
    ",'status':'active','test_clock':null,'transfer_data':null,'trial_end':null"
    ",'trial_settings':{'end_behavior':{'billing_cycle_anchor':null,"
    "'missing_payment_method':'create_invoice'}},'trial_start':null}";

const char st_template_subscription_item[] =
    "{'id':'','object':'subscription_item','billing_thresholds':null,'created':0"
    ",'current_period_end':0,'current_period_start':0,'current_trial':null,'discounts':[]"
    ",'metadata':{},'plan':{'id':'','object':'plan','active':false,'amount':null,"
    "'amount_decimal':null,'billing_scheme':'per_unit','created':0,'currency':'',"
    "'interval':'day','interval_count':0,'livemode':false,'metadata':null,'meter':null,"
    "'nickname':null,'product':null,'tiers_mode':null,'transform_usage':null,"
    "'trial_period_days':null,'usage_type':'licensed'},'price':{'id':'','object':'price',"
    "'active':false,'billing_scheme':'per_unit','created':0,'currency':'',"
    "'custom_unit_amount':null,'livemode':false,'lookup_key':null,'metadata':{},"
    "'nickname':null,'product':'','recurring':null,'tax_behavior':null,'tiers_mode':null,"
    "'transform_quantity':null,'type':'one_time','unit_amount':null,"
    "'unit_amount_decimal':null},'quantity':1,'subscription':'','tax_rates':[]}";

const char st_template_product[] =
    "{'id':'','object':'product','active':true,'created':0,'default_price':null"
    ",'description':null,'images':[],'livemode':false,'marketing_features':[]"
    ",'metadata':{},'name':'','package_dimensions':null,'shippable':null"
    ",'statement_descriptor':null,'tax_code':null,'tax_details':null,'type':'service'"
    ",'unit_label':null,'updated':0,'url':null}";

const char st_template_price[] =
    "{'id':'','object':'price','active':true,'billing_scheme':'per_unit','created':0"
    ",'currency':'usd','custom_unit_amount':null,'livemode':false,'lookup_key':null"
    ",'metadata':{},'nickname':null,'product':'','recurring':{'interval':'month',"
    "'interval_count':1,'meter':null,'trial_period_days':null,'usage_type':'licensed'}"
    ",'tax_behavior':'unspecified','tiers_mode':null,'transform_quantity':null"
    ",'type':'recurring','unit_amount':null,'unit_amount_decimal':null}";

const char st_template_plan[] =
    "{'id':'','object':'plan','active':true,'amount':null,'amount_decimal':null"
    ",'billing_scheme':'per_unit','created':0,'currency':'','interval':'day'"
    ",'interval_count':0,'livemode':false,'metadata':null,'meter':null,'nickname':null"
    ",'product':null,'tiers_mode':null,'transform_usage':null,'trial_period_days':null"
    ",'usage_type':'licensed'}";

const char st_template_coupon[] =
    "{'id':'','object':'coupon','amount_off':null,'created':0,'currency':null"
    ",'duration':'forever','duration_in_months':null,'livemode':false"
    ",'max_redemptions':null,'metadata':{},'name':null,'percent_off':null"
    ",'redeem_by':null,'times_redeemed':0,'valid':true}";

const char st_template_discount[] =
    "{'id':'','object':'discount','checkout_session':null,'customer':null"
    ",'customer_account':null,'end':null,'invoice':null,'invoice_item':null"
    ",'promotion_code':null,'source':{'coupon':null,'type':'coupon'},'start':0"
    ",'subscription':null,'subscription_item':null}";

const char st_template_invoice[] =
    "{'id':'','object':'invoice','account_country':'US'"
    ",'account_name':'Pivotal Simulator Inc.','account_tax_ids':null,'amount_due':0"
    ",'amount_overpaid':0,'amount_paid':0,'amount_remaining':0,'amount_shipping':0"
    ",'application':null,'attempt_count':0,'attempted':false,'auto_advance':false"
    ",'automatic_tax':{'disabled_reason':null,'enabled':false,'liability':null,"
    "'provider':null,'status':null},'automatically_finalizes_at':null"
    ",'billing_reason':'subscription_cycle','collection_method':'charge_automatically'"
    ",'created':0,'currency':'usd','custom_fields':null,'customer':null"
    ",'customer_account':null,'customer_address':null,'customer_email':null"
    ",'customer_name':null,'customer_phone':null,'customer_shipping':null"
    ",'customer_tax_exempt':'none','customer_tax_ids':[],'default_payment_method':null"
    ",'default_source':null,'default_tax_rates':[],'description':null,'discounts':[]"
    ",'due_date':null,'effective_at':null,'ending_balance':null,'footer':null"
    ",'from_invoice':null,'hosted_invoice_url':null,'invoice_pdf':null"
    ",'issuer':{'type':'self'},'last_finalization_error':null,'latest_revision':null"
    ",'lines':{'object':'list','data':[],'has_more':false,'url':''},'livemode':false"
    ",'metadata':{},'next_payment_attempt':null,'number':null,'on_behalf_of':null"
    ",'parent':null,'payment_settings':{'default_mandate':null,"
    "'payment_method_options':null,'payment_method_types':null},'period_end':0"
    ",'period_start':0,'post_payment_credit_notes_amount':0"
    ",'pre_payment_credit_notes_amount':0,'receipt_number':null,'rendering':null"
    ",'shipping_cost':null,'shipping_details':null,'starting_balance':0"
    ",'statement_descriptor':null,'status':'draft'"
    ",'status_transitions':{'finalized_at':null,'marked_uncollectible_at':null,"
    "'paid_at':null,'voided_at':null},'subtotal':0,'subtotal_excluding_tax':null"
    ",'test_clock':null,'total':0,'total_discount_amounts':[],'total_excluding_tax':null"
    ",'total_pretax_credit_amounts':[],'total_taxes':[],'webhooks_delivered_at':null}";

const char st_template_line_item[] =
    "{'id':'','object':'line_item','amount':0,'currency':'usd','description':null"
    ",'discount_amounts':[],'discountable':true,'discounts':[],'invoice':null"
    ",'livemode':false,'metadata':{},'parent':null,'period':{'end':0,'start':0}"
    ",'pretax_credit_amounts':[],'pricing':null,'quantity':null,'quantity_decimal':null"
    ",'subscription':null,'subtotal':0,'taxes':[]}";

const char st_template_invoice_payment[] =
    "{'id':'','object':'invoice_payment','amount_paid':null,'amount_requested':0"
    ",'created':0,'currency':'usd','invoice':'','is_default':true,'livemode':false"
    ",'payment':{'type':'payment_intent'},'status':'paid'"
    ",'status_transitions':{'canceled_at':null,'paid_at':null}}";

const char st_template_charge[] =
    "{'id':'','object':'charge','amount':0,'amount_captured':0,'amount_refunded':0"
    ",'application':null,'application_fee':null,'application_fee_amount':null"
    ",'balance_transaction':null,'billing_details':{'address':{'city':null,"
    "'country':null,'line1':null,'line2':null,'postal_code':null,'state':null},"
    "'email':null,'name':null,'phone':null,'tax_id':null}"
    ",'calculated_statement_descriptor':null,'captured':true,'created':0,'currency':'usd'"
    ",'customer':null,'description':null,'disputed':false"
    ",'failure_balance_transaction':null,'failure_code':null,'failure_message':null"
    ",'fraud_details':{},'livemode':false,'metadata':{},'on_behalf_of':null"
    ",'outcome':{'advice_code':null,'network_advice_code':null,"
    "'network_decline_code':null,'network_status':'approved_by_network','reason':null,"
    "'risk_level':'normal','risk_score':20,'seller_message':'Payment complete.',"
    "'type':'authorized'},'paid':true,'payment_intent':null,'payment_method':null"
    ",'payment_method_details':{'card':{'amount_authorized':null,"
    "'authorization_code':null,'brand':'visa','checks':{'address_line1_check':null,"
    "'address_postal_code_check':null,'cvc_check':'pass'},'country':'US',"
    "'electronic_commerce_indicator':null,'exp_month':8,'exp_year':2030,"
    "'fingerprint':'AOB934RVNwzk6xtn','funding':'credit','installments':null,"
    "'last4':'4242','mandate':null,'network':'visa','network_transaction_id':null,"
    "'regulated_status':'unregulated','three_d_secure':null,'transaction_link_id':null,"
    "'wallet':null},'type':'card'},'receipt_email':null,'receipt_number':null"
    ",'receipt_url':null,'refunded':false,'review':null,'shipping':null,'source':null"
    ",'source_transfer':null,'statement_descriptor':null"
    ",'statement_descriptor_suffix':null,'status':'succeeded','transfer_data':null"
    ",'transfer_group':null}";

const char st_template_payment_intent[] =
    "{'id':'','object':'payment_intent','allowed_payment_method_types':null,'amount':0"
    ",'amount_capturable':0,'amount_details':{'tip':{}},'amount_received':0"
    ",'application':null,'application_fee_amount':null,'automatic_payment_methods':null"
    ",'canceled_at':null,'cancellation_reason':null,'capture_method':'automatic'"
    ",'client_secret':null,'confirmation_method':'automatic','created':0,'currency':'usd'"
    ",'customer':null,'customer_account':null,'description':null"
    ",'excluded_payment_method_types':null,'last_payment_error':null,'latest_charge':null"
    ",'livemode':false,'managed_payments':null,'metadata':{},'next_action':null"
    ",'on_behalf_of':null,'payment_method':null"
    ",'payment_method_configuration_details':null,'payment_method_options':null"
    ",'payment_method_types':['card'],'payment_record':null,'processing':null"
    ",'receipt_email':null,'review':null,'setup_future_usage':null,'shipping':null"
    ",'source':null,'statement_descriptor':null,'statement_descriptor_suffix':null"
    ",'status':'succeeded','transfer_data':null,'transfer_group':null}";

const char st_template_refund[] =
    "{'id':'','object':'refund','amount':0,'balance_transaction':null,'charge':null"
    ",'created':0,'currency':'usd','customer':null,'customer_account':null"
    ",'destination_details':{'card':{'type':'refund'},'type':'card'},'metadata':{}"
    ",'payment_intent':null,'payment_method':null,'reason':null,'receipt_number':null"
    ",'source_transfer_reversal':null,'status':'succeeded','transfer_reversal':null}";

const char st_template_dispute[] =
    "{'id':'','object':'dispute','amount':0,'balance_transactions':[],'charge':''"
    ",'created':0,'currency':'usd','enhanced_eligibility_types':[]"
    ",'evidence':{'access_activity_log':null,'billing_address':null,"
    "'cancellation_policy':null,'cancellation_policy_disclosure':null,"
    "'cancellation_rebuttal':null,'customer_communication':null,"
    "'customer_email_address':null,'customer_name':null,'customer_purchase_ip':null,"
    "'customer_signature':null,'duplicate_charge_documentation':null,"
    "'duplicate_charge_explanation':null,'duplicate_charge_id':null,"
    "'enhanced_evidence':{},'product_description':null,'receipt':null,"
    "'refund_policy':null,'refund_policy_disclosure':null,"
    "'refund_refusal_explanation':null,'service_date':null,'service_documentation':null,"
    "'shipping_address':null,'shipping_carrier':null,'shipping_date':null,"
    "'shipping_documentation':null,'shipping_tracking_number':null,"
    "'uncategorized_file':null,'uncategorized_text':null}"
    ",'evidence_details':{'due_by':null,'enhanced_eligibility':{},'has_evidence':false,"
    "'past_due':false,'submission_count':0,'submission_method':'manual'}"
    ",'intended_submission_method':null,'is_charge_refundable':true,'livemode':false"
    ",'metadata':{},'payment_intent':null"
    ",'payment_method_details':{'card':{'brand':'visa','case_type':'chargeback',"
    "'network':'visa','network_reason_code':'10.4'},'type':'card'}"
    ",'reason':'general','status':'needs_response'}";

const char st_template_credit_note[] =
    "{'id':'','object':'credit_note','amount':0,'amount_shipping':0,'created':0"
    ",'currency':'usd','customer':'','customer_account':null"
    ",'customer_balance_transaction':null,'discount_amount':0,'discount_amounts':[]"
    ",'effective_at':null,'invoice':'','lines':{'object':'list','data':[],"
    "'has_more':false,'url':''},'livemode':false,'memo':null,'metadata':{},'number':''"
    ",'out_of_band_amount':null,'pdf':'','post_payment_amount':0,'pre_payment_amount':0"
    ",'pretax_credit_amounts':[],'reason':null,'refunds':[],'shipping_cost':null"
    ",'status':'issued','subtotal':0,'subtotal_excluding_tax':null,'total':0"
    ",'total_excluding_tax':null,'total_taxes':[],'type':'post_payment','voided_at':null}";

const char st_template_subscription_schedule[] =
    "{'id':'','object':'subscription_schedule','application':null"
    ",'billing_mode':{'flexible':null,'type':'classic'},'canceled_at':null"
    ",'completed_at':null,'created':0,'current_phase':null,'customer':''"
    ",'customer_account':null,'default_settings':{'application_fee_percent':null,"
    "'billing_cycle_anchor':'automatic','billing_thresholds':null,"
    "'collection_method':null,'default_payment_method':null,'description':null,"
    "'invoice_settings':{'account_tax_ids':null,'custom_fields':null,"
    "'days_until_due':null,'description':null,'footer':null,'issuer':{'type':'account'}},"
    "'on_behalf_of':null,'transfer_data':null},'end_behavior':'release','livemode':false"
    ",'metadata':{},'pause_schedules':[],'phases':[],'released_at':null"
    ",'released_subscription':null,'status':'active','subscription':null"
    ",'test_clock':null}";

const char st_template_promotion_code[] =
    "{'id':'','object':'promotion_code','active':true,'code':'','created':0"
    ",'customer':null,'customer_account':null,'expires_at':null,'livemode':false"
    ",'max_redemptions':null,'metadata':{},'promotion':{'coupon':null,'type':'coupon'}"
    ",'restrictions':{'first_time_transaction':false,'minimum_amount':null,"
    "'minimum_amount_currency':null},'times_redeemed':0}";

const char st_template_tax_id[] =
    "{'id':'','object':'tax_id','country':'DE','created':0,'customer':null"
    ",'customer_account':null,'livemode':false,'owner':null,'type':'eu_vat','value':''"
    ",'verification':{'status':'verified','verified_address':null,'verified_name':null}}";

const char st_template_tax_rate[] =
    "{'id':'','object':'tax_rate','active':true,'country':'DE','created':0"
    ",'description':null,'display_name':'VAT','effective_percentage':null"
    ",'flat_amount':null,'inclusive':false,'jurisdiction':'DE','jurisdiction_level':null"
    ",'livemode':false,'metadata':{},'percentage':19,'rate_type':'percentage'"
    ",'state':null,'tax_type':'vat'}";

const char st_template_entitlements_feature[] =
    "{'id':'','object':'entitlements.feature','active':true,'livemode':false"
    ",'lookup_key':'','metadata':{},'name':''}";

const char st_template_entitlements_active_entitlement[] =
    "{'id':'','object':'entitlements.active_entitlement','feature':'','livemode':false"
    ",'lookup_key':''}";

const char st_template_event[] =
    "{'id':'','object':'event','api_version':null,'created':0,'data':{'object':{}}"
    ",'livemode':false,'pending_webhooks':0,'request':{'id':null,'idempotency_key':null}"
    ",'type':'account.application.authorized'}";

const char st_template_webhook_endpoint[] =
    "{'id':'','object':'webhook_endpoint','api_version':null,'application':null"
    ",'created':0,'description':null,'enabled_events':[],'livemode':false,'metadata':{}"
    ",'status':'enabled','url':''}";

const char st_template_account[] =
    "{'id':'','object':'account','business_profile':{'annual_revenue':null,"
    "'estimated_worker_count':null,'mcc':'5734',"
    "'minority_owned_business_designation':null,'name':'Pivotal Simulator Inc.',"
    "'product_description':null,'specified_commercial_transactions_act_url':null,"
    "'support_address':null,'support_email':null,'support_phone':null,'support_url':null,"
    "'url':'https://simulator.example'},'business_type':'company'"
    ",'capabilities':{'card_payments':'active','transfers':'active'}"
    ",'charges_enabled':true,'controller':{'type':'account'},'country':'US','created':0"
    ",'default_currency':'usd','details_submitted':true,'email':'site@simulator.example'"
    ",'external_accounts':{'object':'list','data':[],'has_more':false,"
    "'url':'/v1/accounts/self/"
    "external_accounts'},'future_requirements':{'alternatives':[],'current_deadline':null,'"
    "currently_due':[],"
    "'disabled_reason':null,'errors':[],'eventually_due':[],'past_due':[],"
    "'pending_verification':[]}"
    ",'metadata':{}"
    ",'payouts_enabled':true,'requirements':{'alternatives':[],'current_deadline':null,'"
    "currently_due':[],"
    "'disabled_reason':null,'errors':[],'eventually_due':[],'past_due':[],"
    "'pending_verification':[]}"
    ",'settings':{'branding':{'icon':null,'logo':null,"
    "'primary_color':null,'secondary_color':null},"
    "'card_payments':{'statement_descriptor_prefix':null,"
    "'statement_descriptor_prefix_kana':null,'statement_descriptor_prefix_kanji':null,"
    "'decline_on':{'avs_failure':false,'cvc_failure':false}},"
    "'dashboard':{'display_name':'Pivotal Simulator','timezone':'Etc/UTC'},"
    "'payments':{'statement_descriptor':null,'statement_descriptor_kana':null,"
    "'statement_descriptor_kanji':null,'statement_descriptor_prefix_kana':null,"
    "'statement_descriptor_prefix_kanji':null}}"
    ",'tos_acceptance':{'date':null,'ip':null,'user_agent':null},'type':'standard'}";
