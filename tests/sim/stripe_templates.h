/* The templates of stripe_templates.c. */
#ifndef PIVOTAL_SYNC_SIM_STRIPE_TEMPLATES_H
#define PIVOTAL_SYNC_SIM_STRIPE_TEMPLATES_H

extern const char st_template_account[];
extern const char st_template_charge[];
extern const char st_template_coupon[];
extern const char st_template_credit_note[];
extern const char st_template_customer[];
extern const char st_template_discount[];
extern const char st_template_dispute[];
extern const char st_template_entitlements_active_entitlement[];
extern const char st_template_entitlements_feature[];
extern const char st_template_event[];
extern const char st_template_invoice[];
extern const char st_template_invoice_payment[];
extern const char st_template_line_item[];
extern const char st_template_payment_intent[];
extern const char st_template_plan[];
extern const char st_template_price[];
extern const char st_template_product[];
extern const char st_template_promotion_code[];
extern const char st_template_refund[];
extern const char st_template_subscription[];
extern const char st_template_subscription_item[];
extern const char st_template_subscription_schedule[];
extern const char st_template_tax_id[];
extern const char st_template_tax_rate[];
extern const char st_template_webhook_endpoint[];

#endif
