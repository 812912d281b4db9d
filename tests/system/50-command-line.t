#!/usr/bin/perl
# What scripts rely on: exit codes and the columns of -o json (contract.md, Command line).
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(sim => [qw(--companies 12 --list-members 8 --contacts 0 --customers 6)]);

sub exits {
    my ($wanted, $what, @words) = @_;
    my ($code, $out, $err) = $rig->cmd(@words);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is $code, $wanted, "$wanted: $what"
        or diag "pivotal-sync @words\n$out$err";
    return $out . $err;
}

# ---- before anything is connected ----
is_deeply $rig->cmd_json('status')->{connections}, [], 'status of nothing is empty';
exits(0, 'status of nothing', 'status');
exits(2, 'no such command', 'resink', 'stripe', 'cus_1');
like exits(2, 'a mistyped command', 'statsu'), qr/did you mean 'status'/, 'with a suggestion';
exits(2, 'a word is missing', 'resync', 'stripe');
exits(2, 'an unknown option', 'status', '--colour');
unlike exits(2, 'an unknown form', 'log', '-o', 'yaml'), qr/did you mean/, 'far from any that is';
like exits(2, 'no word at all'), qr/up --demo.*pivotal-sync help/s, 'what there is to begin with';
exits(2, 'an unknown time', 'log', '--since', 'yesterday');
exits(3, 'an unknown workspace', 'run-now', 'stripe', '-w', 'nobody');
exits(3, 'no such connection', 'run-now', 'stripe');
exits(3, 'an unknown attempt', 'show', '17');
exits(3, 'an unknown attempt to retry', 'retry', '17');
exits(3, 'an unknown run', 'run', 'cancel', '17');
exits(3, 'an unknown error type', 'explain', 'no_such_code');
exits(0, 'an error type', 'explain', 'map_type_mismatch');
exits(5, 'a workspace that is there already', 'workspace', 'add', 'acme');
exits(2, 'a time zone that does not exist', 'workspace', 'add', 'b', '--tz', 'Mars/Olympus');
{
    local $rig->{settings}{LEASE_S} = 'soon';
    exits(10, 'a setting that does not fit', 'status');
}
{
    local $rig->{settings}{LEESE_S} = 2;
    like exits(10, 'an unknown setting', 'status'), qr/LEESE_S/, 'which is named';
}
like exits(0, 'help', 'help'), qr/run-now/, 'help lists the commands';
exits(0, 'the version', 'version');

# ---- connecting ----
my $key = $rig->secret_file('wrong', 'rk_test_this_key_does_not_exist');
exits(4, 'a key that Stripe refuses', 'connection', 'connect', 'stripe', '--token-file', $key);
$key = $rig->secret_file('right', Psync::STRIPE_KEY);
exits(9, 'another account than was named', 'connection', 'connect', 'stripe', '--token-file',
    $key, '--account', 'acct_Other');
is $rig->value("select count(*) from psync.connection where state = 'connected'"), 0,
    'neither connects';

# ---- run-now ----
my $hold = $rig->fault(provider => 'stripe', regex => '/v1/(customers|prices|products)',
    times => -1, until_released => JSON::PP::true);
$rig->start(qw(webhook-gw scheduler worker));
$rig->connect_stripe;
like exits(5, 'run-now while a run is live', 'run-now', 'stripe'), qr/running already/,
    'which is shown';
exits(7, 'run-now --wait that takes too long', 'run-now', 'stripe', '--wait', '--timeout', '1s');
$rig->cmd_start('joined', 'run-now', 'stripe', '--wait');
wait_for('another has found the live run', 20, sub { $rig->log_text('joined') =~ /Full sync/ });
$rig->sim(DELETE => "faults/$hold");
is $rig->cmd_end('joined', 60), 0, '0: run-now --wait joins the live run and ends with it';
is $rig->value('select count(*) from psync.run'), 1, 'it was one run';
my $mirrored = $rig->value("select count(*) from psync.record where object_type = 'customer'
    and in_scope and deleted_at is null");
like exits(0, 'run-now without --wait', 'run-now', 'stripe'),
    qr/started \($mirrored customers expected\)/, 'says how many are expected';
exits(0, 'run-now --wait, joined', 'run-now', 'stripe', '--wait');
$rig->connect_hubspot;
exits(0, 'run-now --wait of HubSpot', 'run-now', 'hubspot', '--wait');

# ---- resync ----
my @customers = @{$rig->sim_stripe(GET => 'customers?ids=1')};
my @members = @{$rig->sim(GET => 'hubspot/1234567/companies?list=42&ids=1')};
my %member = map { $_ => 1 } @members;
my ($outside) = grep { !$member{$_} } @{$rig->sim_hubspot(GET => 'companies?ids=1')};
$rig->sim_stripe(PATCH => "customers/$customers[0]", {name => 'By resync'});
exits(0, 'resync of what changed', 'resync', 'stripe', $customers[0], '--wait');
is $rig->value("select raw ->> 'name' from psync_bi.stripe_customer
    where record_id = '$customers[0]'"), 'By resync', 'it is written when the command ends';
exits(0, 'resync of what is equal', 'resync', 'stripe', $customers[0], '--wait');
exits(0, 'resync of a company', 'resync', 'hubspot', 'company', $members[0], '--wait');
exits(0, 'resync without --wait', 'resync', 'hubspot', $members[0]);
exits(3, 'resync of an id that Stripe does not know', 'resync', 'stripe', 'cus_none', '--wait');
exits(3, 'resync of an id that HubSpot does not know', 'resync', 'hubspot', '999', '--wait');
like exits(3, 'resync of a company outside', 'resync', 'hubspot', $outside, '--wait'),
    qr/not in the mirrored list/i, 'and the sentence says which';
$rig->sim_stripe(DELETE => "customers/$customers[1]");
like exits(3, 'resync of what is deleted', 'resync', 'stripe', $customers[1], '--wait'),
    qr/deleted/i, 'and the sentence says which';
exits(2, 'resync of a type that does not exist', 'resync', 'hubspot', 'ticket', '1', '--wait');
$rig->sim_hubspot(PATCH => "companies/$members[1]", {properties => {annualrevenue => 'much'}});
exits(6, 'resync with a record error', 'resync', 'hubspot', $members[1], '--wait');
$hold = $rig->fault(provider => 'stripe', contains => $customers[2],
    until_released => JSON::PP::true);
exits(7, 'resync that takes too long', 'resync', 'stripe', $customers[2], '--wait', '--timeout',
    '1s');
$rig->sim(DELETE => "faults/$hold");

# ---- retry ----
my ($failed) = @{$rig->cmd_json('log', 'hubspot', '--record', $members[1], '--errors-only')};
is $failed->{error_code}, 'map_type_mismatch', 'the error is in the log';
exits(6, 'retry while the value is as it was', 'retry', $failed->{attempt_id}, '--wait');
my ($skipped) = @{$rig->cmd_json('log', 'hubspot', '--record', $outside)};
exits(9, 'retry of what is never retried', 'retry', $skipped->{attempt_id});
my ($good) = @{$rig->cmd_json('log', 'stripe', '--record', $customers[0])};
exits(0, 'retry of what succeeded', 'retry', $good->{attempt_id});
$rig->sim_hubspot(PATCH => "companies/$members[1]", {properties => {annualrevenue => '5'}});
exits(0, 'resync once the value fits', 'resync', 'hubspot', $members[1], '--wait');
like exits(0, 'retry of what is resolved', 'retry', $failed->{attempt_id}, '--wait'),
    qr/needs no retry/, 'and it says so';
exits(0, 'retry --failed', 'retry', '--failed', '--dry-run');
exits(2, 'retry of nothing', 'retry');

# ---- columns ----
sub columns_of {
    my ($view) = @_;
    return [sort split /\n/, $rig->value("select attname from pg_attribute
        where attrelid = 'psync_bi.$view'::regclass and attnum > 0")];
}
my $status = $rig->cmd_json('status');
is_deeply [sort keys %$status], [qw(connections queue workers)], 'status: its members';
# Members may be added, those of the contract stay.
is_deeply [grep { !exists $status->{connections}[0]{$_} } qw(workspace provider mode connection_id
    state state_code state_reason state_since last_incremental_at last_catch_up_at
    incremental_health last_full_success_at full_health next_full_at waiting failing)], [],
    'status: the members of a connection';
is_deeply [sort keys %{$status->{queue}}], [sort qw(waiting delayed parked leased oldest_age_s)],
    'status: the members of the queue';
is_deeply [sort keys %{$status->{queue}{waiting}}],
    [sort qw(interactive webhook run_now nightly)], 'status: the lanes';
is $status->{workers}, 1, 'status: the workers';
is scalar(@{$status->{connections}}), 2, 'status: both connections';
is scalar(grep { $_->{state} eq 'connected' } @{$status->{connections}}), 2, 'both connected';
exits(0, 'status --check of healthy connections', 'status', '--check');

my %views = ('sync_log' => ['log'], 'run_history' => ['run', 'list'],
    'customer' => ['customer', 'list'], 'connection_status' => ['connection', 'list']);
for my $view (sort keys %views) {
    my @words = @{$views{$view}};
    my $rows = $rig->cmd_json(@words);
    cmp_ok scalar(@$rows), '>', 0, "@words -o json: rows";
    is_deeply [sort keys %{$rows->[0]}], columns_of($view), "@words -o json: the columns of $view";
    my ($code, $text) = $rig->cmd(@words, '-o', 'jsonl', '-n', '2');
    is_deeply [sort keys %{json->decode((split /\n/, $text)[0])}], columns_of($view),
        "@words -o jsonl: the same";
    ($code, $text) = $rig->cmd(@words, '-o', 'csv', '-n', '2');
    is_deeply [sort split /,/, ($text =~ /^([^\r\n]*)/)[0]], columns_of($view),
        "@words -o csv: the same";
}
my $raw = $rig->must('log', '-o', 'json');
like $raw, qr/"attempt_id":\s*"\d{17,}"/, 'attempt ids are text, they pass 2^53';
unlike $raw, qr/"record_id":\s*\d/, 'record ids too';
my $shown = $rig->cmd_json('show', $failed->{attempt_id}, '--body');
is_deeply [sort grep { $_ ne 'body' } keys %$shown], columns_of('sync_log'),
    'show --body: the columns of sync_log';
is_deeply [sort keys %{$shown->{body}}], [qw(body headers method redactions status truncated url)],
    'and the body';
is $shown->{attempt_id}, $failed->{attempt_id}, 'of that attempt';
ok $shown->{resolved}, 'which is resolved';
ok !exists $rig->cmd_json('show', $failed->{attempt_id})->{body}, 'show without --body has none';
like exits(0, 'show for people', 'show', $failed->{attempt_id}), qr/What to do/,
    'show says what to do';
like exits(0, 'show of what is never retried', 'show', $skipped->{attempt_id}),
    qr/^Retry +never/m, 'show says so';

# ---- what people read ----
my ($run) = @{$rig->cmd_json('run', 'list', 'hubspot', '-n', '1')};
like exits(0, 'run show', 'run', 'show', $run->{run_id}),
    qr/^Expected +8 in what is mirrored\nRecords +\d+ seen: company 8/m, 'counts by type';
my $connection = exits(0, 'connection show', 'connection', 'show', 'hubspot');
like $connection, qr/^Mirrored +list 42 .*8 members$/m, 'connection show: what is mirrored';
like $connection, qr/^Credential +token of /m, 'its credential';
unlike $connection, qr/[{}]|\bnull\b/, 'in words';
my ($paying) = grep { ($_->{mrr} // 0) > 0 } @{$rig->cmd_json('customer', 'list')};
my $customer = exits(0, 'customer show', 'customer', 'show', $paying->{customer_id});
like $customer, qr/^  MRR +\d/m, 'customer show: what the MRR is made of';
like $customer, qr/ \d\S* [a-z]{3} a month in minor units, \w+ sub_\w+: \d+ x \w+/,
    'subscription by subscription';
like $customer, qr/written here \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00/, 'and when it was written';

# ---- deliveries ----
$rig->deliver_stripe($rig->stripe_event('customer.updated', {id => $customers[0]}),
    secret => 'wrong');
my @refused_ones = ('webhook', 'log', 'stripe', '--verdict', 'wh_signature_invalid');
wait_for('a delivery that is turned away is in webhook log', 20,
    sub { scalar @{$rig->cmd_json(@refused_ones)} });
like exits(0, 'webhook log', @refused_ones), qr/^NO .*VERDICT.*\n\d+ .*wh_signature_invalid/, 'for people too';
my ($delivery) = split /\n/, $rig->must(@refused_ones, '-o', 'name');
is $rig->must(@refused_ones, '-o', 'name', '--before', $delivery), '', 'page by page';
exits(2, 'a page before no number', 'webhook', 'log', '--before', 'x');
is_deeply $rig->cmd_json('webhook', 'log', 'hubspot'), [], 'that of another connection has none of it';
like +($rig->cmd('webhook', 'status', 'stripe'))[1], qr/^24 hours +1 wh_signature_invalid$/m,
    'webhook status counts it';

# ---- diagnose and why ----
exits(2, 'diagnose of a customer that is no number', 'diagnose', '--customer', 'acme');
exits(3, 'diagnose of a customer that is not there', 'diagnose', '--customer', '99999');
{
    my ($code, $out) = $rig->cmd('diagnose', '-o', 'json');
    my $found = json->decode($out);
    is_deeply [sort keys %{{map { $_->{provider} => 1 } @$found}}], [qw(hubspot stripe)],
        'diagnose of everything is one array, each line with its provider';
    ($code, $out) = $rig->cmd('why', 'hubspot', $members[0], '-o', 'jsonl');
    is_deeply [grep { !exists json->decode($_)->{check} } split /\n/, $out], [], 'why: -o jsonl';
    $rig->must('workspace', 'set', 'acme', '--tz', 'Asia/Tokyo');
    like(($rig->cmd('diagnose', 'stripe'))[1], qr/\d\d:\d\d:\d\d Asia\/Tokyo/,
        'diagnose: times in the zone of the workspace');
    like(($rig->cmd('diagnose', 'stripe', '--utc'))[1], qr/\d\d:\d\d:\d\d UTC/, '--utc: in UTC');
    like(($rig->cmd('why', 'hubspot', $members[0]))[1], qr/\d\d:\d\d:\d\d Asia\/Tokyo/, 'why: so too');
    $rig->must('workspace', 'set', 'acme', '--tz', 'UTC');
}
my $new = $rig->sim_hubspot(POST => 'companies', {lists => ['42'], notify => JSON::PP::false,
    properties => {name => 'New', domain => 'new.example'}})->{id};
$rig->must('queue', 'pause');
$rig->must('resync', 'hubspot', $new);
my ($waits) = grep { $_->{verdict} eq 'cause' }
    @{json->decode(($rig->cmd('why', 'hubspot', $new, '-o', 'json'))[1])};
like $waits->{text}, qr/^It is waiting in the lane interactive/, 'why: what only waits';
my (undef, @command) = split ' ', $waits->{command};
like exits(0, 'the command that it names', @command), qr/\Q$new\E/, 'which shows it';
$rig->must('queue', 'resume');
wait_for('it is done', 20, sub { $rig->idle });

# ---- a run with record errors, and a connection to be reauthorized ----
$rig->sim_hubspot(PATCH => "companies/$members[2]",
    {raw => {name => '"a\u0000b"'}, notify => JSON::PP::false});
exits(6, 'run-now --wait with a record error', 'run-now', 'hubspot', '--wait');
$rig->sim_stripe(PATCH => 'keys/' . Psync::STRIPE_KEY, {revoked => JSON::PP::true});
my $about_it = sub {    # a catch-up may come between, which asks for events
    my $endpoints = $rig->sim(GET => 'counters?ids=0')->{stripe}{endpoints};
    my $n = 0;
    $n += $endpoints->{$_}{requests} for grep { !m{/events} } keys %$endpoints;
    return $n;
};
my $calls = $about_it->();
exits(4, 'resync when the key is revoked', 'resync', 'stripe', $customers[0], '--wait');
wait_for('the connection is to be reauthorized', 20, sub {
    my ($c) = grep { $_->{provider} eq 'stripe' } @{$rig->cmd_json('status')->{connections}};
    return $c->{state} eq 'reauthorize' && $c->{state_code} ne '' && $c->{state_reason} ne '';
});
cmp_ok $about_it->() - $calls, '<=', 3,
    'a refused key costs at most 3 calls';
my ($refused) = @{$rig->cmd_json('log', 'stripe', '--record', $customers[0], '--errors-only')};
exits(9, 'retry before the connection is reauthorized', 'retry', $refused->{attempt_id});
exits(4, 'status --check then', 'status', '--check');
exits(0, 'status itself', 'status');
exits(4, 'run-now then', 'run-now', 'stripe', '--wait', '--timeout', '20s');
is(($rig->cmd('queue', 'fsck'))[0], 0, 'the queue is sound');
done_testing;
