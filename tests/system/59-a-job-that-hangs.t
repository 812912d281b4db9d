#!/usr/bin/perl
# A job that waits for something without a deadline, which no known job does: it is given up and
# told, its worker finishes what else it does and is replaced, and the work is done by another.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Chaos;
use Psync;
use Test::More;

my $chaos = Chaos->new(workers => 1, settings => {WORKER_PROCESSES => 1},
    sim => [qw(--companies 30 --list-members 20 --contacts 20 --customers 20)]);
my $rig = $chaos->rig;
wait_for('nothing is left to do', 30, sub { $rig->idle });
my $from = $rig->value('select coalesce(max(attempt_id), 0) from psync.attempt');
my ($child) = $rig->children_of($rig->pid('worker'));

# The next job hangs, and counts as one that does after half a second.
open my $f, '>', "$chaos->{crash}/job.hangs" or die "crash point: $!";
print {$f} "500\n";
close $f;
my $customer = $chaos->pick('customers');
$chaos->{customers} = [grep { (ref $_ ? $_->{id} : $_) ne $customer } @{$chaos->{customers}}];
$rig->sim_stripe(PATCH => "customers/$customer", {name => 'Waited for'});
wait_for('a job hangs', 20, sub { !-e "$chaos->{crash}/job.hangs" });
$chaos->change(12);
wait_for('which is told, with what it worked on', 20,
    sub { $rig->log_text('worker') =~ /customer $customer of connection \d+.* has not ended for/ });
wait_for('another process takes the place of its own', 40, sub {
    my ($now) = $rig->children_of($rig->pid('worker'));
    $now && $now != $child;
});
my $c = $chaos->converges('a job that hung', 40);
is($rig->value("select raw ->> 'name' from psync.record where record_id = '$customer'"),
    'Waited for', 'what it worked on is written as well');
is($rig->value("select count(*) from psync.attempt where attempt_id > $from and status = 'failed'"),
    0, 'nothing counts as failed');
wait_for('the log has a line for the lease that was lost', 20, sub {
    $rig->value("select count(*) from psync.attempt where attempt_id > $from"
        . " and status = 'interrupted' and error_code = 'worker_lost'") >= 1;
});
Chaos::report($c);
done_testing;
