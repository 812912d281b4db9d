#!/usr/bin/perl
# Tenant A has as many deliveries waiting as its list has companies, and a full sync of all of
# them; tenant B resyncs one record after the other. B is served next each time, and A loses
# nothing of its quota by it. What a wait took is printed; that nobody was served in between is
# what counts.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Chaos;
use Psync;
use Test::More;
use Time::HiRes qw(sleep time);

my $long = Chaos::long_form();
my $companies = $ENV{FAIR_COMPANIES} // ($long ? 1_000_000 : 1_500);
my $resyncs = $long ? 100 : 12;
my @workers = qw(worker worker-2);

my $rig = Psync->new(sim => ['--companies', $companies, '--list-members', $companies, '--contacts',
    0, '--customers', 20]);
$rig->must('workspace', 'add', 'beta', '--currency', 'usd');
$rig->must('connection', 'connect', 'stripe', '-w', 'beta', '--token-file',
    $rig->secret_file('stripe', Psync::STRIPE_KEY));
my $beta = $rig->connection('stripe');
$rig->start('webhook-gw', 'scheduler', @workers);
wait_for('tenant B is mirrored', 60, sub {
    $rig->value("select count(*) from psync.record where object_type = 'customer'") == 20
        && $rig->idle;
});
my @customers = @{$rig->sim_stripe(GET => 'customers?ids=1')};
$rig->sim(POST => 'faults', {provider => $_, hold_ms => 80, times => -1}) for qw(hubspot stripe);

# ---- tenant A: a full sync begins, and everything is delivered at once ----
$rig->sim_hubspot(POST => 'properties/companies',
    {name => 'tier', type => 'string', fieldType => 'text'});
$rig->must('connection', 'connect', 'hubspot', '-w', 'acme', '--token-file',
    $rig->secret_file('hubspot', Psync::HUBSPOT_TOKEN));
my $acme = $rig->connection('hubspot');
$rig->must('scope', 'set', 'hubspot', 'list', 42, '-w', 'acme');
# In the quick form the list is read to its end first: who is known to be a member costs no
# question of its own.
my $known = $long ? '' : "and not exists (select from psync.run_chunk where kind = 'scope'"
    . " and status in ('waiting', 'queued'))";
wait_for('its full sync has begun', 60, sub {
    $rig->value("select count(*) from psync.run_chunk where kind = 'ids' $known") > 0;
});
$rig->stop($_) for @workers;
my $ids = $rig->sim_hubspot(GET => 'companies?list=42&ids=1');
my ($began, %status) = (time);
while (my @part = splice @$ids, 0, 100) {
    my $answer = $rig->deliver_hubspot($rig->hubspot_events(
        map { {objectId => 0 + $_, propertyName => 'name', propertyValue => 'x'} } @part));
    $status{$answer->{status}}++;
}
is_deeply([keys %status], [200], 'all deliveries are taken');
note(sprintf '%d deliveries of 100 in %.1f s', $status{200}, time - $began);
my $stats = $rig->cmd_json('queue', 'stats');
is($stats->{waiting}{webhook}, $companies, "$companies units of tenant A wait");
cmp_ok($stats->{waiting}{interactive} // 0, '==', 0, 'and none of a person');

# ---- tenant B, behind all of them ----
sub resync {
    my ($customer) = @_;
    $customer = $customer->{id} if ref $customer;
    $rig->must('resync', 'stripe', $customer, '-w', 'beta');
}
my $from = $rig->value('select coalesce(max(attempt_id), 0) from psync.attempt');
resync($customers[0]);
$rig->sim(POST => 'counters/reset');
$rig->start(@workers);
my $measured = time;
for my $n (1 .. $resyncs) {
    my $next = time + ($long ? 1 : 0.1);
    resync($customers[$n % @customers]);
    sleep 0.01 while time < $next;    # the pace of tenant B
}
my $calls = $rig->sim(GET => 'counters?ids=0')->{hubspot}{requests};
my $took = time - $measured;
my $left = $rig->cmd_json('queue', 'stats')->{waiting}{webhook};
wait_for('each of tenant B is answered', 30, sub {
    $rig->value("select count(*) from psync.attempt where attempt_id > $from"
        . " and connection_id = $beta and trigger = 'person'"
        . " and status in ('succeeded', 'partial')") > $resyncs;
}) or diag($rig->value('select status, error_code, error_message, count(*) from psync.attempt where'
    . " attempt_id > $from and connection_id = $beta group by 1, 2, 3"));
my @waits = sort { $a->{wait} <=> $b->{wait} } $rig->rows("with b as (select queue_wait_ms,"
    . " started_at, started_at - queue_wait_ms * interval '1 ms' as put_at from psync.attempt"
    . " where attempt_id > $from and connection_id = $beta and trigger = 'person')"
    . " select queue_wait_ms as wait, (select count(distinct fetch_no) from psync.attempt"
    . "   where connection_id = $acme and started_at > put_at and started_at < b.started_at) as before"
    . ' from b');
is(scalar(@waits), $resyncs + 1, 'one attempt each');
# Each worker may have had a claim under way when B's unit was put; where one stands still for
# want of a processor the other goes on, so that it is the middle which tells the order.
my @before = sort { $a <=> $b } map { $_->{before} } @waits;
cmp_ok($before[@before / 2], '<=', @workers + 1,
    "B waits for $before[@before / 2] claims of tenant A, $before[-1] at most");
note(sprintf 'put to claim: median %d ms, p99 %d ms, longest %d ms, of %d, with %d waiting at the'
    . ' end', $waits[@waits / 2]{wait}, $waits[int(0.99 * $#waits)]{wait}, $waits[-1]{wait},
    scalar(@waits), $left);
note(sprintf 'tenant A: %d calls in %.1f s, %.1f %% of its quota', $calls, $took,
    $calls / $took / 11 * 100);
cmp_ok($calls / $took, '>=', 0.9 * 11, 'tenant A has 90 % of its quota') if $long;
my ($code, $out) = $rig->cmd('queue', 'fsck');
is($code, 0, 'the queue is sound') or diag($out);

if (!$long) {
    wait_for('tenant A is served as well', 60, sub { $rig->idle
        && $rig->value("select count(*) from psync.record where connection_id = $acme"
            . " and object_type = 'company'") == $companies });
    is($rig->value("select count(*) from psync.attempt where connection_id = $acme and kind = 'record'"
        . " and trigger = 'webhook' and status in ('succeeded', 'skipped')"), $companies,
        'each of its deliveries has a line in the log');
}
done_testing;
