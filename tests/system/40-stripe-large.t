#!/usr/bin/perl
# A type so large that it is split by creation time and read side by side: every record once, no
# more calls than its pages need, also when the worker is killed in the middle or many records
# share one second.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my ($yes, $no) = (JSON::PP::true, JSON::PP::false);
my $n = $ENV{CHAOS} ? 60000 : 12000;
my $rig = Psync->new(sim => ['--customers', $n, '--subscriptions-per-customer', 0,
    '--companies', 0, '--contacts', 0], settings => {LEASE_S => 10});
# A migration: hundreds that were made in one second, so that no border between parts is clean.
my $second = time - 40 * 86400;
$rig->sim_stripe(POST => 'customers', {id => sprintf('cus_SysSame%04d', $_), name => "Same $_",
    created => $second, notify => $no}) for 1 .. 250;
$n += 250;
$rig->start(qw(webhook-gw scheduler worker));
$rig->sim(POST => 'counters/reset');
$rig->connect_stripe;    # which begins the first full sync
$rig->cmd('run-now', 'stripe', '--wait', '--timeout', '240s');
wait_for('the first full sync is over', 60, sub { $rig->idle });

sub run {
    my ($row) = $rig->rows('select * from psync_bi.run_history order by run_id desc limit 1');
    return $row;
}

sub complete {
    my ($what) = @_;
    is $rig->value("select count(*) from psync.record where object_type = 'customer'
        and deleted_at is null"), $n, "$what: every customer is here";
    my $theirs = join "\n", sort @{$rig->sim_stripe(GET => 'customers?ids=1')};
    my $ours = join "\n", sort split /\n/, $rig->value(
        "select record_id from psync.record where object_type = 'customer' and deleted_at is null");
    ok $theirs eq $ours, "$what: the same as there";
    return;
}

sub parts {
    return $rig->value("select count(*) from psync.run_chunk where kind = 'range'
        and object_type = 'customer' and run_id = " . run()->{run_id});
}

is run()->{status}, 'succeeded', 'and well';
complete('at first');

# ---- what it costs ----
my $least = int(($n + 99) / 100);
my $seen = $rig->sim(GET => 'counters?ids=0')->{stripe};
my $asked = $seen->{endpoints}{'GET /v1/customers'}{requests};
diag "$n customers: $asked calls where $least are the least, in " . parts() . ' parts';
cmp_ok parts(), '>', 1, 'it was split';
cmp_ok $asked, '<=', $least * 1.02, "$asked calls where $least are the least";
is $seen->{endpoints}{'GET /v1/customers/{id}'}, undef, 'none by id';
is $seen->{violations}, 0, 'no limit was passed';
is run()->{objects}{customer}{seen}, $n, 'each record was seen once';

# ---- some change while it is read, the worker is killed ----
my @ids = @{$rig->sim_stripe(GET => 'customers?ids=1')};
my $gone = $ids[int(@ids / 3)];
my $fault = $rig->fault(provider => 'stripe', path => '/v1/customers', contains => 'starting_after',
    until_released => $yes, late => $yes);
$rig->cmd_start('run', 'run-now', 'stripe', '--wait', '--timeout', '240s');
wait_for('pages are on their way', 30, sub { $rig->held($fault) });
$rig->sim_stripe(DELETE => "customers/$gone", {notify => $no});
$rig->sim_stripe(POST => 'customers', {id => 'cus_SysMeanwhile', name => 'Meanwhile', notify => $no});
$rig->stop('worker', 'KILL');
$rig->sim(DELETE => "faults/$fault");
$rig->start('worker');
is $rig->cmd_end('run', 240), 0, 'a run whose worker was killed succeeds';
wait_for('who was deleted meanwhile is marked', 30, sub {
    $rig->value("select count(*) from psync.record where record_id = '$gone'
        and deleted_at is not null") == 1;
});
is $rig->value("select count(*) from psync.record_seen where object_type = 'customer'
    and state = 'archived'"), 1, 'and nobody else';
$rig->must('queue', 'rebuild');
wait_for('who came meanwhile is found by the catch-up', 30, sub {
    $rig->value("select count(*) from psync.record where record_id = 'cus_SysMeanwhile'") == 1;
});
wait_for('all is quiet', 30, sub { $rig->idle });
complete('in the end');
is(($rig->cmd('queue', 'fsck'))[0], 0, 'the queue is sound');
done_testing;
