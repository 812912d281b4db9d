#!/usr/bin/perl
# Programs are killed at labelled points while records change; the mirror ends equal. The long
# form has several rigs side by side (CHAOS_RIGS), since most of it is waiting for leases.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Chaos;
use File::Temp ();
use POSIX ();
use Psync;
use Test::More;
use Time::HiRes qw(sleep time);

my $kills = $ENV{CHAOS_KILLS} // (Chaos::long_form() ? 1000 : 12);
my $rigs = $ENV{CHAOS_RIGS} // (Chaos::long_form() ? 4 : 1);

# This test once more for each rig, with its part of the kills; what they say is passed on.
if ($rigs > 1) {
    my $dir = File::Temp::tempdir('psync-kills-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    local @ENV{qw(CHAOS_RIGS CHAOS_KILLS)} = (1, int(($kills + $rigs - 1) / $rigs));
    my %rig_of;
    for my $n (1 .. $rigs) {
        my $pid = fork // BAIL_OUT("fork: $!");
        if ($pid == 0) {
            open STDOUT, '>', "$dir/$n" or POSIX::_exit(1);
            open STDERR, '>&', \*STDOUT or POSIX::_exit(1);
            exec $^X, $0 or POSIX::_exit(1);
        }
        $rig_of{$pid} = $n;
    }
    my $all = 0;
    while (%rig_of and (my $pid = waitpid -1, 0) > 0) {
        my ($n, $status) = (delete $rig_of{$pid}, $?);
        open my $f, '<', "$dir/$n" or die "'$dir/$n': $!";
        my $said = join '', <$f>;
        my ($of_it) = $said =~ /; (\d+) kills,/;
        $all += $of_it // 0;
        ok($status == 0, "rig $n: " . ($of_it // 'no') . ' kills') or diag($said);
        note($said);
    }
    note("$all kills of $kills");
    done_testing;
    exit;
}

# In the long form with the lease that is the default: what a kill leaves behind is back after 30 s.
my $chaos = Chaos->new(sim => ['--companies', 120, '--list-members', 100, '--contacts', 150,
    '--customers', 60], settings => {LEASE_S => Chaos::long_form() ? 30 : 2});
my $rig = $chaos->rig;

my @webhook_points = qw(gw.put gw.was_put gw.answered worker.claimed fetch.before fetch.answered
    save.commit save.committed worker.finish worker.finished receipts.taken);
my @run_points = qw(chunk.put chunk.was_put listing.commit listing.committed page.commit
    page.committed worker.claimed fetch.answered worker.finish run.made);

my $runs = 0;
sub traffic {
    $chaos->change(2);
    sleep 0.02;    # the pace of the traffic, here and below
}
# The scheduler makes a run when its hour has come: the hour is put to now.
sub due_now {
    $rig->value("delete from psync.occurrence where kind = 'nightly'");
    $rig->value("update psync.connection set created_at = now() - interval '3 days'");
    $rig->value("update psync.workspace set tz = 'UTC',"
        . " nightly_at = (now() at time zone 'UTC' - interval '20 minutes')::time");
}
sub run_traffic {
    $chaos->change(1);
    my $live = $rig->value("select count(*) from psync.run where status in ('queued', 'running')");
    if ($live == 0) {
        $rig->cmd('run-now', $runs++ % 2 ? 'stripe' : 'hubspot');
    }
    sleep 0.02;
}
my (%killed, $last_kill);
my $until = time + ($ENV{CHAOS_SECONDS} // (Chaos::long_form() ? 3600 : 40));
for (my $n = 0; $chaos->{kills} < $kills && time < $until; $n++) {
    my $run = $n % 2;
    my $points = $run ? \@run_points : \@webhook_points;
    my $point = $points->[($n / 2) % @$points];
    # What a kill left unput comes back after ten, what it left in work when its lease ends.
    my $seconds = ($run ? 20 : 10) + (Chaos::long_form() ? 30 : 0);
    if ($point eq 'run.made') {
        due_now();
        $seconds = 25;
    }
    my $at = $chaos->kill_at($point, $seconds, $run ? \&run_traffic : \&traffic);
    if ($at) {
        $last_kill = $at;
        $killed{$point}++;
    }
}
note(join ', ', map { "$_ $killed{$_}" } sort keys %killed);
cmp_ok($chaos->{kills}, '>=', 5, 'there were kills');
my $c = $chaos->converges("$chaos->{kills} kills", 60);
my $recovered = $c->{equal_at} - $last_kill;
cmp_ok($recovered, '<', 35 + (Chaos::long_form() ? 0 : 60),
    sprintf 'recovered within %.1f s of the last kill', $recovered);
is($rig->cmd_json('queue', 'stats')->{buried} // 0, 0, 'nothing is taken for poison');
wait_for('no run is left behind', 40, sub {
    $rig->value("select count(*) from psync.run where status in ('queued', 'running')") == 0;
});
Chaos::report($c);
done_testing;
