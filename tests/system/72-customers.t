#!/usr/bin/perl
# Customers by the command: where a field came from, links made by hand and remembered, a resync
# tried before it is made, erasing, and a workspace's end.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(sim => [qw(--companies 8 --list-members 6 --contacts 6 --customers 6)]);
$rig->start(qw(webhook-gw scheduler worker));
$rig->connect_hubspot;
is $rig->run_now('hubspot'), 0, 'the first full sync of HubSpot';
$rig->connect_stripe;
is $rig->run_now('stripe'), 0, 'and of Stripe';

sub fields {
    return json->decode($rig->value(
        "select fields from psync.customer where customer_id = $_[0]"));
}
my @linked = $rig->rows("select record_id, customer_id from psync.record_link
    where object_type = 'customer' and how = 'domain' order by customer_id limit 2");
is scalar @linked, 2, 'Stripe customers were matched by domain';
my ($a, $b) = @linked;

# ---- show ----
my $shown = $rig->cmd_json('customer', 'show', $a->{customer_id});
my %field = map { $_->{field} => $_ } @{$shown->{fields}};
is $field{name}{provider}, 'hubspot', 'the name came from HubSpot';
is $field{name}{source_property}, 'name', 'from its property';
is $field{name}{mapping_version}, 1, 'by this version of the mapping';
ok $field{name}{written_at} && $field{name}{record_id}, 'from a record, at a time';
is $field{mrr}{provider}, 'stripe', 'the MRR from Stripe';
my ($billing) = grep { $_->{provider} eq 'stripe' } @{$shown->{links}};
is $billing->{how}, 'domain', 'by a link that says how it was made';
ok ref $billing->{inputs} eq 'HASH', 'with what the MRR is made of';
is(($rig->cmd('customer', 'show', 99999))[0], 3, 'a customer that is not there is not found');
is scalar @{$rig->cmd_json('customer', 'list', '--domain', uc $field{domain}{value})}, 1,
    'customers are found by domain';
is scalar @{$rig->cmd_json('customer', 'list', '--archived', 'yes')}, 0, 'none is archived';

# ---- a resync, tried ----
my $company = $rig->value("select record_id from psync.record_link
    where object_type = 'company' and customer_id = $a->{customer_id}");
$rig->value("update psync.customer set fields = fields || '{\"industry\": \"by hand\"}'
    where customer_id = $a->{customer_id}");
$rig->sim_hubspot(PATCH => "companies/$company", {properties => {name => 'Renamed SE'}});
my $before = fields($a->{customer_id});
my $seen = $rig->value("select record_seen::text from psync.record_seen where record_id = '$company'");
for my $words (['resync', 'hubspot', $company], ['resync', 'hubspot', '--customer',
        $a->{customer_id}]) {
    my ($code, $out, $err) = $rig->cmd(@$words, '--dry-run', '-o', 'json');
    is $code, 0, "@$words --dry-run" or diag $err;
    my %change = map { $_->{field} => $_ } @{json->decode($out)->{changes}[0]{fields}};
    is_deeply [sort keys %change], [qw(industry name)], 'says which fields would change';
    is $change{name}{new}, 'Renamed SE', 'to what';
    is $change{name}{now}, $before->{name}, 'from what';
    ok $change{industry}{edited_by_hand} && !$change{name}{edited_by_hand},
        'and which of them was edited by hand';
}
is_deeply fields($a->{customer_id}), $before, 'nothing was written';
is $rig->value("select record_seen::text from psync.record_seen where record_id = '$company'"),
    $seen, 'not even that it was seen';
my ($code, $out, $err) = $rig->cmd('resync', 'hubspot', '--customer', $a->{customer_id}, '--wait');
is $code, 0, 'then it is made' or diag $err;
is fields($a->{customer_id})->{name}, 'Renamed SE', 'and overwrites';
like +($rig->cmd('resync', 'hubspot', $company, '--dry-run'))[2], qr/Already the same/,
    'a second preview finds nothing';
like +($rig->cmd('resync', 'stripe', '--customer', $a->{customer_id}, '--dry-run'))[2],
    qr/Already the same/, 'of Stripe too';

# ---- links ----
my $mrr = fields($a->{customer_id})->{mrr};
($code, $out, $err) = $rig->cmd('link', 'add', 'stripe', $a->{record_id}, $b->{customer_id},
    '--wait');
is $code, 0, 'a person links a record elsewhere' or diag $err;
is $rig->value("select customer_id || how || linked_by from psync.record_link
    where record_id = '$a->{record_id}'") =~ s/\d+//r, 'hand' . (getpwuid($>))[0],
    'by hand, and by whom';
is fields($b->{customer_id})->{mrr}, $mrr, 'its amounts are there at once';
ok !exists fields($a->{customer_id})->{mrr}, 'and gone where they were';
is fields($a->{customer_id})->{name}, 'Renamed SE', 'where nothing else is gone';
wait_for('the record that lost its customer is matched anew', 20, sub {
    $rig->value("select state || reason_code from psync.record_seen
        where record_id = '$b->{record_id}'") eq 'ambiguousduplicate_source'
        || $rig->value("select reason_code from psync.record_seen
        where record_id = '$b->{record_id}'") eq 'duplicate_source';
});
is $rig->value("select count(*) from psync.audit where action = 'link.add'"), 1, 'with an audit row';
$rig->run_now('stripe');
$rig->cmd('resync', 'stripe', $a->{record_id}, '--wait');
is $rig->value("select customer_id from psync.record_link where record_id = '$a->{record_id}'"),
    $b->{customer_id}, 'it is remembered over a full sync and a resync';
is(($rig->cmd('link', 'add', 'stripe', $b->{record_id}, $b->{customer_id}))[0], 5,
    'a customer that has one by hand takes no other');
is(($rig->cmd('link', 'add', 'hubspot', $company, $b->{customer_id}))[0], 2,
    'a company makes its own customer');
is(($rig->cmd('link', 'add', 'stripe', 'cus_nobody', $b->{customer_id}))[0], 3,
    'an unknown record is not found');
is scalar @{$rig->cmd_json('link', 'list', 'stripe', '--how', 'hand')}, 1, 'it is listed';
is(($rig->cmd('link', 'remove', 'stripe', $a->{record_id}, '--wait'))[0], 0, 'it is taken away');
is $rig->value("select how || customer_id from psync.record_link
    where record_id = '$a->{record_id}'"), "domain$a->{customer_id}", 'and the match is back';
is fields($a->{customer_id})->{mrr}, $mrr, 'with its amounts';
is(($rig->cmd('link', 'remove', 'stripe', $a->{record_id}))[0], 2, 'a match cannot be taken away');

# ---- one field that both providers feed: whoever was synced last, the other is kept ----
my $stripes = $rig->cmd_json('mapping', 'show', 'stripe');
is(($rig->cmd('mapping', 'apply', $rig->secret_file('both', json->encode({provider => 'stripe',
    fields => [@{$stripes->{fields}}, {field => 'industry', source => 'name', type => 'text'}]}))))[0],
    0, 'Stripe feeds a field that HubSpot feeds');
my %says = (hubspot => 'Industry by HubSpot', stripe => 'Industry by Stripe');
$rig->sim_hubspot(PATCH => "companies/$company", {properties => {industry => $says{hubspot}}});
$rig->sim_stripe(PATCH => "customers/$a->{record_id}", {name => $says{stripe}});
for my $order (['hubspot', 'stripe'], ['stripe', 'hubspot']) {
    my ($loser, $winner) = @$order;
    for my $provider (@$order) {
        is(($rig->cmd('resync', $provider, '--customer', $a->{customer_id}, '--wait'))[0], 0,
            "a resync from $provider");
    }
    my ($industry) = grep { $_->{field} eq 'industry' }
        @{$rig->cmd_json('customer', 'show', $a->{customer_id})->{fields}};
    is $industry->{value}, $says{$winner}, "$winner was the last: its value stands";
    is $industry->{provider}, $winner, 'as its provenance says';
    ok !$industry->{edited_by_hand}, 'which is nobody\'s edit';
    is_deeply [map { "$_->{provider} $_->{value}" } @{$industry->{also_fed_by}}],
        ["$loser $says{$loser}"], "and what $loser says is kept beside it";
    is $rig->value("select string_agg(n.provider, ' ' order by n.provider)
        from psync_bi.field_provenance p join psync.connection n using (connection_id)
        where p.customer_id = $a->{customer_id} and p.field = 'industry'"), 'hubspot stripe',
        'dashboards see both';
}
like +($rig->cmd('customer', 'show', $a->{customer_id}))[1],
    qr/also fed by stripe customer $a->{record_id} \(name\): Industry by Stripe/,
    'and so does who reads it';

# ---- erasing ----
my ($contact) = $rig->rows("select record_id from psync.record where object_type = 'contact'
    order by 1 limit 1");
is(($rig->cmd('erase', 'hubspot', 'contact', $contact->{record_id}, '--reason', 'asked'))[0], 0,
    'a contact is erased');
is $rig->value("select raw || coalesce(s.hash::text, '') from psync.record join psync.record_seen s
    using (connection_id, object_type, record_id) where record_id = '$contact->{record_id}'
    and object_type = 'contact'"), '{}', 'nothing of it is left';
is $rig->value("select target || ' ' || reason from psync.audit where action = 'erase'"),
    "contact $contact->{record_id} asked", 'but its id and the time';
my $company_b = $rig->value("select record_id from psync.record_link
    where object_type = 'company' and customer_id = $b->{customer_id}");
is(($rig->cmd('erase', 'hubspot', 'company', $company_b))[0], 0, 'a company is erased');
my $left = fields($b->{customer_id});
ok !exists $left->{name} && !exists $left->{domain}, "with its customer's fields";
is $rig->value("select count(*) from psync_bi.field_provenance where record_id = '$company_b'"), 0,
    'and where they came from';
is(($rig->cmd('erase', 'hubspot', 'company', '1'))[0], 3, 'what is not here cannot be erased');

# ---- connection show, workspace delete ----
my $conn = $rig->cmd_json('connection', 'show', 'hubspot');
is $conn->{state}, 'connected', 'a connection is shown';
is $conn->{credential}{kind}, 'token', 'with its kind of credential';
unlike json->encode($conn), qr/pat-na1/, 'but not with the credential';
is(($rig->cmd('workspace', 'delete', 'acme'))[0], 2, 'a workspace is not deleted without --yes');
is(($rig->cmd('workspace', 'delete', 'acme', '--yes'))[0], 0, 'with it, it is');
is $rig->value("select (select count(*) from psync.record) + (select count(*) from psync.customer)
    + (select count(*) from psync.attempt) + (select count(*) from psync.connection)
    + (select count(*) from psync.record_link)"), 0, 'nothing of it is left';
ok $rig->value('select count(*) from psync.audit') > 0, 'but the audit trail';
is $rig->cmd_json('queue', 'stats')->{parked}, 0, 'and nothing of it waits';

done_testing;
