#!/usr/bin/perl
# Why is this record missing? Ten ordered checks, live; each is made the first cause here, and the
# ones before it are well.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(sim => [qw(--companies 14 --list-members 12 --contacts 2 --customers 4)]);
$rig->start(qw(webhook-gw scheduler worker));
$rig->sim_hubspot(POST => 'properties/companies', {name => 'rating', type => 'string',
    fieldType => 'text'});
$rig->connect_hubspot;
$rig->connect_stripe;
is $rig->run_now('hubspot'), 0, 'the first full sync of HubSpot';
is $rig->run_now('stripe'), 0, 'and of Stripe';
my @company = map { $_->{record_id} } $rig->rows("select record_id from psync.record
    where object_type = 'company' and in_scope order by 1");

# The numbers of the checks that were well or skipped, the cause and its text.
sub why {
    my (@words) = @_;
    my ($code, $out, $err) = $rig->cmd('why', @words, '-o', 'json');
    my $said = eval { json->decode($out) } // do { diag $err; [] };
    my $last = $said->[-1];
    my $cause = $last && $last->{verdict} eq 'cause' ? $last : undef;
    is $code, $cause ? 6 : 0, 'its exit code says whether there is a cause';
    is scalar(grep { $_->{verdict} eq 'cause' } @$said), $cause ? 1 : 0, 'and it stops at the first';
    return (scalar @$said, $cause // {error_code => '', text => '', mend => '', command => ''});
}
sub cause_is {
    my ($name, $number, $code, $text, @words) = @_;
    my ($n, $cause) = why(@words);
    is $n, $number, "$name: check $number is the cause";
    is $cause->{error_code}, $code, "$name: $code";
    like $cause->{text}, $text, "$name: in a sentence";
    ok length $cause->{mend}, "$name: with its mend" or diag json->encode($cause);
    return $cause;
}

my ($n, $none) = why('hubspot', $company[0]);
is $n, 10, 'of a record that is well all ten checks are made';
is $none->{text}, '', 'and find nothing';
($n) = why('hubspot', 'contact', $rig->value("select min(record_id) from psync.record
    where object_type = 'contact' and deleted_at is null"));
is $n, 10, 'of a contact too';

# ---- 2: does it exist there? ----
cause_is('never there', 2, 'record_not_found', qr/HubSpot has no company 987654321/, 'hubspot',
    '987654321');
$rig->sim_hubspot(DELETE => "companies/$company[1]");
cause_is('deleted', 2, 'record_deleted', qr/no company $company[1] any more/, 'hubspot',
    $company[1]);

# ---- 3: may we see it? ----
my $customer = $rig->value("select min(record_id) from psync.record_link l
    where object_type = 'customer'");
$rig->sim_stripe(PATCH => 'keys/' . Psync::STRIPE_KEY, {permissions => ['subscription_read']});
cause_is('not allowed', 3, 'permission_denied', qr/permission/i, 'stripe', $customer);
$rig->cmd('resync', 'stripe', $customer, '--wait', '--timeout', '10s');
$rig->sim_stripe(PATCH => 'keys/' . Psync::STRIPE_KEY, {permissions => undef});

# ---- 7 (one kind): parked by what has been mended since ----
cause_is('parked', 7, 'permission_denied', qr/It is parked after/, 'stripe', $customer);
is(($rig->cmd('resync', 'stripe', $customer, '--wait', '--timeout', '240s'))[0], 0,
    'the command it names mends that');
is((why('stripe', $customer))[0], 10, 'and then all is well');

# ---- 4: is it mirrored? ----
my ($outside) = grep { my $id = $_; !grep { $_ eq $id } @company }
    map { ref $_ ? $_->{id} : $_ } @{$rig->sim_hubspot(GET => 'companies?ids=1')};
my $out = cause_is('outside', 4, 'not_in_mirrored_list', qr/in HubSpot but not in the list/, 'hubspot',
    $outside);
like $out->{mend}, qr/Add it there/, 'outside: what to do';

# ---- 5 and 6: matching ----
sub customer {
    my ($id, %members) = @_;
    $rig->sim_stripe(POST => 'customers', {id => $id, %members});
    return ('stripe', $id);
}
cause_is('no key', 5, 'match_no_key', qr/neither an e-mail address nor an id/,
    customer('cus_WhyNoKey', email => undef));
cause_is('personal', 5, 'match_personal_email', qr/gmail\.com/,
    customer('cus_WhyPersonal', email => 'someone@gmail.com'));
my $alone = cause_is('none fits', 6, 'match_none', qr/no customer has the domain/,
    customer('cus_WhyNone', email => 'x@nobody-has-this.example'));
like $alone->{command}, qr/^pivotal-sync link add stripe cus_WhyNone /, 'none fits: a link by hand';
$rig->sim_hubspot(PATCH => "companies/$_", {properties => {domain => 'twice.example'}})
    for @company[2, 3];
$rig->cmd('resync', 'hubspot', $_, '--wait') for @company[2, 3];
cause_is('several fit', 6, 'match_ambiguous', qr/several customers/,
    customer('cus_WhySeveral', email => 'x@twice.example'));

# ---- 7: waiting ----
my $domain = $rig->value("select fields ->> 'domain' from psync.customer
    join psync.record_link using (customer_id) where record_id = '$company[4]'");
$rig->value("delete from psync.record_link where object_type = 'customer' and customer_id in
    (select customer_id from psync.record_link where record_id = '$company[4]')");
my @waits = customer('cus_WhyWaits', email => "x\@$domain");
is(($rig->cmd('connection', 'pause', 'stripe'))[0], 0, 'an admin pauses Stripe');
is(($rig->cmd('resync', @waits))[0], 0, 'a resync waits');
my $paused = cause_is('paused', 7, '', qr/lane interactive.*paused the connection/, @waits);
is $paused->{command}, 'pivotal-sync connection resume stripe -w acme', 'paused: resume it';
is $rig->value("select state from psync.connection where provider = 'stripe'"), 'connected',
    'a pause is no state of the connection';
is(($rig->cmd('connection', 'resume', 'stripe'))[0], 0, 'it is resumed');
wait_for('and what waited runs by itself', 20, sub {
    $rig->value("select count(*) from psync.record where record_id = 'cus_WhyWaits'") });

# ---- 8: what did the last attempt say? ----
my $mapping = $rig->cmd_json('mapping', 'show', 'hubspot');
is(($rig->cmd('mapping', 'apply', $rig->secret_file('mapping', json->encode({provider => 'hubspot',
    fields => [@{$mapping->{fields}}, {field => 'rating', source => 'rating', type => 'number'}]}))))[0],
    0, 'a mapping that not every value fits');
is $rig->run_now('hubspot'), 0, 'is written for all';
$rig->sim_hubspot(PATCH => "companies/$company[5]", {properties => {rating => 'excellent'}});
$rig->cmd('resync', 'hubspot', $company[5], '--wait');
my $failed = cause_is('last attempt', 8, 'map_type_mismatch', qr/rating|excellent/, 'hubspot',
    $company[5]);
like $failed->{command}, qr/^pivotal-sync retry \d+ --wait$/, 'last attempt: retry it';

# ---- 9: would every field fill? ----
$rig->sim_hubspot(PATCH => "companies/$company[6]", {properties => {rating => 'superb'}});
cause_is('would not fill', 9, 'map_type_mismatch', qr/superb/, 'hubspot', $company[6]);

# ---- 10: is it here as they have it? ----
$rig->sim_hubspot(PATCH => "companies/$company[7]", {properties => {name => 'Silently Renamed'}});
my $stale = cause_is('changed there', 10, 'wh_missed_events', qr/has changed it since we read it/,
    'hubspot', $company[7]);
like $stale->{mend}, qr/nightly pass only/, 'changed there: what only the nightly pass sees';
$rig->value("update psync.customer set fields = fields || '{\"industry\": \"by hand\"}'
    where customer_id = (select customer_id from psync.record_link where record_id = '$company[8]')");
cause_is('by hand', 10, '', qr/changed by hand/, 'hubspot', $company[8]);
$rig->value("update psync.customer set archived_at = now(), archived_why = 'record_deleted'
    where customer_id = (select customer_id from psync.record_link where record_id = '$company[9]')");
cause_is('archived', 10, 'record_deleted', qr/is archived/, 'hubspot', $company[9]);

# ---- 1: is it connected? ----
is(($rig->cmd('connection', 'disconnect', 'hubspot', '--yes'))[0], 0, 'an admin disconnects');
my $gone = cause_is('disconnected', 1, 'auth_app_uninstalled', qr/disconnected/, 'hubspot',
    $company[0]);
like $gone->{command}, qr/^pivotal-sync connection connect hubspot /, 'disconnected: connect it again';

done_testing;
