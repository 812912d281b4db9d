#!/usr/bin/perl
# A nightly full sync that is due fires once, however many schedulers look, and once for many
# nights that were missed.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(sim => [qw(--companies 6 --list-members 5 --contacts 0 --customers 4)]);
$rig->start(qw(webhook-gw worker));
my @connections = ($rig->connect_stripe, $rig->connect_hubspot);
is $rig->run_now($_), 0, "the first full sync of $_ succeeds" for qw(stripe hubspot);

my @schedulers = qw(scheduler scheduler-2 scheduler-3);
sub nightly { return $rig->value("select count(*) from psync.run where trigger = 'nightly'") }

# Every scheduler has looked once this returns.
sub all_look {
    for my $scheduler (@schedulers) {
        $rig->stop($_) for @schedulers;
        $rig->value('update psync.connection set next_full_at = null');
        $rig->start($scheduler);
        Psync::until_true(20, sub {
            $rig->value('select count(*) from psync.connection where next_full_at is null') == 0;
        });
    }
    $rig->start(grep { !$rig->pid($_) } @schedulers);
    return;
}

all_look();
is nightly(), 0, 'nothing is due: a connection is younger than its night';

# Due twenty minutes ago, less the spread; and so every night of the last ten days.
$rig->value("update psync.workspace set tz = 'Asia/Kolkata',
    nightly_at = ((now() - interval '20 minutes') at time zone 'Asia/Kolkata')::time");
$rig->stop($_) for @schedulers;
$rig->value("update psync.connection set created_at = now() - interval '10 days'");
$rig->start(@schedulers);
wait_for('the nightly runs are there', 20, sub { nightly() >= @connections });
all_look();
is nightly(), scalar(@connections), 'one for each connection';
is $rig->value("select count(*) from psync.occurrence where kind = 'nightly'"),
    scalar(@connections), 'and one occurrence';
is $rig->value('select count(distinct connection_id) from psync.run where trigger = \'nightly\''),
    scalar(@connections), 'of each';
wait_for('they succeed', 30, sub {
    $rig->value("select count(*) from psync.run where trigger = 'nightly'
        and status = 'succeeded'") == @connections;
});
is $rig->value("select count(*) from psync.run where trigger = 'nightly' and lane <> 'nightly'"),
    0, 'in the lane of nightly runs';
is $rig->value("select bool_and(next_full_at > now() + interval '23 hours'
    and next_full_at <= now() + interval '24 hours 15 minutes') from psync.connection"), 't',
    'the next is tomorrow';

# A night that falls while a person's run is live is that run's.
my $hold = $rig->fault(provider => 'stripe', regex => '/v1/customers',
    until_released => JSON::PP::true);
$rig->cmd('run-now', 'stripe');
wait_for('a run is live', 20, sub { $rig->held($hold) >= 1 });
$rig->value('delete from psync.occurrence');
all_look();
is $rig->value("select count(*) from psync.run where connection_id = $connections[0]
    and trigger = 'nightly' and status <> 'succeeded'"), 0, 'no second run beside a live one';
$rig->sim(DELETE => "faults/$hold");
wait_for('nothing is left to do', 30, sub { $rig->idle });

# A connection whose credential cannot be opened, the first of all; and Redis has lost everything.
my $of = "connection_id = $connections[0]";
my $sealed = $rig->value("select encode(access_token, 'hex') from psync.credential where $of");
$rig->stop($_) for @schedulers;
$rig->value("update psync.credential set access_token = '\\x00' where $of");
$rig->value('delete from psync.occurrence');
$rig->redis('flushall');
my $again = sub { $rig->value("select count(*) from psync.run where trigger = 'nightly'"
    . " and status = 'succeeded' and connection_id = $_[0]") };
my @before = map { $again->($_) } @connections;
$rig->start(@schedulers);
wait_for('it keeps no other from its night', 30, sub { $again->($connections[1]) > $before[1] });
is $again->($connections[0]), $before[0], 'and has none itself';
like join('', map { $rig->log_text($_) } @schedulers), qr/nightly: connection $connections[0]: /,
    'which is told';
$rig->value("update psync.credential set access_token = decode('$sealed', 'hex') where $of");
wait_for('until it can be opened again', 30, sub { $again->($connections[0]) > $before[0] });
is $rig->stop($_), 0, "$_ ends with 0" for @schedulers;
done_testing;
