#!/usr/bin/perl
# kill -9 of a worker in the middle of a full sync: the run ends complete, nothing is missing, and
# nothing is fetched twice beyond what was in flight.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(
    settings => {WORKER_INFLIGHT => 3},
    sim => [qw(--companies 800 --list-members 750 --contacts 300 --customers 160)],
);
$rig->start(qw(webhook-gw scheduler worker));

# Of each endpoint that makes the pages of a run. What a page causes (long lists within its
# records) belongs to the page and is repeated with it.
sub requests {
    my ($provider) = @_;
    my $all = $rig->sim(GET => 'counters?ids=0')->{$provider}{endpoints};
    my %n = map { $_ => $all->{$_}{requests} }
        grep { !m{account|/lists/\{v\}/\{listId\}$|/properties/|/v1/.*/|_items|/events$|/search$} }
        keys %$all;
    return \%n;
}

sub sum { my $n = 0; $n += $_ for @_; return $n }

sub run_of {
    my ($connection) = @_;
    my ($run) = $rig->rows("select * from psync_bi.run_history
        where connection_id = $connection order by run_id desc limit 1");
    return $run;
}

# Let some calls through, hold all that come after, kill, and see what had been on its way.
sub kill_in_the_middle {
    my ($provider, $connect, $kill, %fault) = @_;
    $rig->sim(POST => 'counters/reset');
    my $hold = $rig->fault(provider => $provider, times => -1, until_released => JSON::PP::true,
        %fault);
    my $connection = $connect->();
    $rig->cmd_start("run-$provider", 'run-now', $provider, '--wait', '--timeout', '240s');
    wait_for("$provider: all that is in work waits for an answer", 30, sub {
        my $held = $rig->held($hold);
        return $held >= 2 && $rig->cmd_json('queue', 'stats')->{leased} == $held;
    });
    is run_of($connection)->{status}, 'running', "$provider: the run is in its middle";
    $kill->();
    my ($fault) = grep { $_->{id} == $hold } @{$rig->faults};
    my $in_flight = $fault->{hits};
    my $before = requests($provider);
    $rig->sim(DELETE => "faults/$hold");
    $rig->start('worker') unless $rig->running('worker');
    is $rig->cmd_end("run-$provider", 90), 0, "$provider: the waiting command ends with 0";
    my $run = run_of($connection);
    is $run->{status}, 'succeeded', "$provider: the run succeeded";
    is $run->{failed}, 0, "$provider: without failures";
    my ($runs) = $rig->value("select count(*) from psync.run
        where connection_id = $connection and kind = 'full'");
    is $runs, 1, "$provider: and it is one run";
    note "$provider: $in_flight in flight, "
        . sum(values %$before) . ' calls before the kill, '
        . sum(values %{requests($provider)}) . ' in all';
    return ($in_flight, requests($provider));
}

# The second sync of the same data is undisturbed and tells what one costs.
sub compare {
    my ($provider, $in_flight, $disturbed) = @_;
    $rig->sim(POST => 'counters/reset');
    is $rig->run_now($provider), 0, "$provider: an undisturbed run succeeds";
    my $plain = requests($provider);
    my $more = sum(map { my $d = ($disturbed->{$_} // 0) - ($plain->{$_} // 0); $d > 0 ? $d : 0 }
        keys %$disturbed);
    cmp_ok $more, '<=', $in_flight, "$provider: no call was repeated that had been answered"
        or diag explain [$disturbed, $plain];
    return;
}

# ---- HubSpot: the worker with all its processes ----
my ($in_flight, $disturbed) = kill_in_the_middle('hubspot', sub { $rig->connect_hubspot }, sub {
    my $pid = $rig->pid('worker');
    my @children = $rig->children_of($pid);
    cmp_ok scalar(@children), '>=', 1, 'the worker has a process';
    kill 'KILL', @children;
    $rig->stop('worker', 'KILL');
    wait_for('nothing of it is left', 10, sub { !grep { kill 0, $_ } @children });
}, regex => '(batch/read|memberships)', after => 6);

my $ids = $rig->sim(GET => 'counters')->{hubspot}{ids}{companies};
my $members = $rig->sim(GET => 'hubspot/1234567/companies?list=42&ids=1');
is scalar(@$members), 750, 'the list has 750 members';
my @missing = grep { !$ids->{$_} } @$members;
is scalar(@missing), 0, 'each company was asked for';
# A company is named by its own read and by the question for its contacts: two calls when
# nothing is repeated, a batch of a hundred repeated for each call in flight.
my $repeated = sum(map { $ids->{$_} > 2 ? $ids->{$_} - 2 : 0 } @$members);
cmp_ok $repeated, '<=', 100 * $in_flight, 'no more was repeated than had been in flight';
is $rig->value("select count(*) from psync.record where object_type = 'company'
    and deleted_at is null and in_scope"), 750, 'each company has its row';
is_deeply [sort split /\n/, $rig->value("select record_id from psync_bi.hubspot_company
    where in_scope and deleted_at is null")], [sort @$members], 'and they are the right ones';
is $rig->value('select count(*) from psync_bi.customer where archived_at is null'), 750,
    'and each is a customer';
my $contacts = $rig->sim(GET => 'hubspot/1234567/contacts?companies_of=42&ids=1');
is_deeply [sort split /\n/, $rig->value("select record_id from psync_bi.hubspot_contact
    where deleted_at is null")], [sort @$contacts], 'each contact has its row';
compare('hubspot', $in_flight, $disturbed);

# ---- Stripe: one process of the worker ----
my $parent = $rig->pid('worker');
($in_flight, $disturbed) = kill_in_the_middle('stripe', sub { $rig->connect_stripe }, sub {
    my ($child) = $rig->children_of($parent);
    kill 'KILL', $child;
    wait_for('the worker replaces its process', 20, sub {
        my ($next) = $rig->children_of($parent);
        return $next && $next != $child;
    });
}, regex => '/v1/(customers|subscriptions|invoices)', after => 5);
is $rig->pid('worker'), $parent, 'the worker itself stays';
for my $type (qw(customer subscription)) {
    is_deeply [sort split /\n/, $rig->value("select record_id from psync_bi.stripe_$type
        where deleted_at is null")],
        [sort @{$rig->sim_stripe(GET => "${type}s?ids=1")}], "each $type has its row";
}
compare('stripe', $in_flight, $disturbed);

is $rig->value("select count(*) from psync.run where status <> 'succeeded'"), 0,
    'all runs succeeded';
wait_for('nothing is left to do', 30, sub { $rig->idle });
is(($rig->cmd('queue', 'fsck'))[0], 0, 'the queue is sound');
done_testing;
