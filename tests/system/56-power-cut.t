#!/usr/bin/perl
# The power goes while deliveries come: Redis loses what was not fsynced, PostgreSQL and our
# programs end in the middle of what they did. Every delivery that was answered 200 is still there.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Chaos;
use HTTP::Tiny;
use Psync;
use Test::More;
use Time::HiRes qw(sleep time);

my $long = Chaos::long_form();
my $trials = $ENV{POWER_CUTS} // ($long ? 100 : 3);
my $shim = Psync::root() . '/build/tools/forgetful.so';
BAIL_OUT("no $shim: make tests") unless -e $shim;
my $chaos = Chaos->new(own_postgres => 1, sim => ['--companies', 30, '--list-members', 20,
    '--contacts', 30, '--customers', 20]);
my $rig = $chaos->rig;
$rig->sim(POST => 'webhooks/flush', {deadline_ms => 10000});
my $connection = $rig->connection('stripe');
$rig->{stripe_hook} = $rig->gateway . "/webhooks/stripe/$connection";
my $disk = $rig->dir . '/disk';
mkdir $disk;

sub files { return grep { -f } glob $rig->dir . '/redis/appendonlydir/*' }

sub inode { return (stat $_[0])[1] }

# What is there when Redis starts is on disk.
sub redis_on_this_disk {
    unlink glob "$disk/*";
    for my $file (files()) {
        open my $f, '>', "$disk/" . inode($file) or die "note: $!";
        printf {$f} "%-20d\n", -s $file;
        close $f;
    }
    local @ENV{qw(LD_PRELOAD FORGETFUL_DIR)} = ($shim, $disk);
    $rig->start_redis;
    return;
}

# Bytes forgotten. Of those that nobody asked to be written, a part may have been.
sub forget {
    my ($in_part) = @_;
    my $forgotten = 0;
    for my $file (files()) {
        my $kept = 0;
        if (open my $f, '<', "$disk/" . inode($file)) {
            $kept = 0 + (<$f> // 0);
        }
        my $tail = (-s $file) - $kept;
        next if $tail <= 0;
        $kept += int rand $tail if $in_part && rand() < 0.5;
        $forgotten += (-s $file) - $kept;
        truncate $file, $kept or die "truncate '$file': $!";
    }
    return $forgotten;
}

# Everything at once: no program may end in order.
sub power_cut {
    my (@programs) = @_;
    my @names = ('redis', @programs);
    kill 'KILL', grep { defined } map { $rig->pid($_), $rig->children_of($rig->pid($_)) }
        grep { $rig->pid($_) } @names;
    kill 'QUIT', $rig->pid('postgres');
    $rig->running($_) and Psync::end_pid(delete $rig->{pids}{$_}, 'KILL', 5)
        for grep { $rig->pid($_) } @names;
    Psync::end_pid(delete $rig->{pids}{postgres}, 'QUIT', 10);
    return;
}

# Four providers that deliver as fast as they are answered; what they were answered 200 for goes
# to a file as soon as it is.
sub deliver_meanwhile {
    my ($trial, $path) = @_;
    my @pids;
    for my $who (1 .. 4) {
        my $pid = fork // die "fork: $!";
        push @pids, $pid and next if $pid;
        open my $said, '>>', $path or POSIX::_exit(1);
        my $http = HTTP::Tiny->new(timeout => 10, keep_alive => 1);
        for my $n (1 .. 100_000) {
            my $id = "cus_P${trial}x${who}x$n";
            my ($body, $headers, $url) = @{$rig->stripe_delivery($rig->stripe_event(
                'customer.updated', {id => $id, object => 'customer'}, id => "evt_$id"))};
            my $r = $http->post($url, {content => $body, headers => $headers});
            last if $r->{status} == 599;
            syswrite $said, "$id\n" if $r->{status} == 200;
        }
        POSIX::_exit(0);
    }
    return @pids;
}

# (acknowledged, lost, bytes forgotten)
sub trial {
    my ($trial, $fsync) = @_;
    my $path = $rig->dir . "/answered.$trial";
    redis_on_this_disk();
    $rig->redis('flushall');
    $rig->redis('config', 'set', 'appendfsync', $fsync);
    $rig->start_postgres unless $rig->pid('postgres');
    $rig->start('webhook-gw');
    my @providers = deliver_meanwhile($trial, $path);
    Psync::until_true(20, sub { (-s $path // 0) > 500 });
    sleep 0.05 + rand 0.4;
    power_cut('webhook-gw');
    my $forgotten = forget($fsync eq 'always');
    waitpid $_, 0 for @providers;
    $rig->start_redis;
    my %there = map { $_ => 1 } $rig->redis('hkeys', "{ps0}:u:$connection") =~ /(cus_P\w+)/g;
    $rig->stop_redis;
    open my $f, '<', $path or die "'$path': $!";
    chomp(my @acknowledged = <$f>);
    return (scalar @acknowledged, scalar(grep { !$there{$_} } @acknowledged), $forgotten);
}

wait_for('the first syncs are through', 60, sub { $rig->idle });
$rig->stop($_, 'KILL') for @{$chaos->{programs}};
$rig->stop_redis;

# ---- the disk does forget: with everysec what was acknowledged is gone ----
my ($acknowledged, $lost, $forgotten) = trial('control', 'no');
cmp_ok $lost, '>', 0, "without fsync a power cut loses $lost of $acknowledged deliveries";

# ---- with the setting that is asked for ----
my ($all, $all_lost, $all_forgotten) = (0, 0, 0);
for my $n (1 .. $trials) {
    ($acknowledged, $lost, $forgotten) = trial($n, 'always');
    diag("trial $n lost $lost of $acknowledged") if $lost;
    $all += $acknowledged;
    $all_lost += $lost;
    $all_forgotten += $forgotten;
}
is $all_lost, 0, "0 of $all acknowledged deliveries lost over $trials power cuts";
cmp_ok $all, '>', 100, 'there were some';
note("$all_forgotten bytes were forgotten, of work that had not been acknowledged");
cmp_ok $all_forgotten, '>', 0, 'cuts met writes that were not on disk yet' if $trials > 20;

# ---- everything in the middle of its work, then everything again ----
redis_on_this_disk();
$rig->redis('flushall');
$rig->start_postgres unless $rig->pid('postgres');
$chaos->armed(sub { $rig->start(@{$chaos->{programs}}) });
my $c;
for my $n (1 .. ($long ? 5 : 1)) {
    $chaos->change(30);
    sleep rand 0.5;
    power_cut(@{$chaos->{programs}});
    forget(1);
    redis_on_this_disk();
    $rig->start_postgres;
    $chaos->armed(sub { $rig->start(@{$chaos->{programs}}) });
    $c = $chaos->converges("the power went in the middle of work, $n", 60);
}
Chaos::report($c);
Chaos::report({lost => $all_lost, wrong => 0, of => $all});
done_testing;
