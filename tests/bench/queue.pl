#!/usr/bin/perl
# The queue alone, beside the queue that most Node projects use: units of which nothing is to be
# done are put, claimed, leased and completed. One Redis for both, appendfsync everysec (as the peer
# is run; the gateway's rows have it at always).
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin, "$FindBin::Bin/../system/lib";
use Bench qw(row runs absent median);
use IPC::Open2;
use Psync;

my $units = $ENV{BENCH_UNITS} // 100_000;
my $root = Psync::root();

# Runs a program of the form of queue.c: seconds to put, bytes a waiting unit, seconds to work.
sub measure {
    my ($rig, $n, @command) = @_;
    $rig->redis('flushall');
    my $before = memory($rig);
    my $pid = open2(my $out, my $in, @command);
    my ($put) = (readline($out) // '') =~ /^put (\S+)/ or die "@command: no figure\n";
    my $bytes = (memory($rig) - $before) / $n;
    print $in "go\n";
    close $in;
    my ($work) = (readline($out) // '') =~ /^work (\S+)/ or die "@command: no figure\n";
    waitpid $pid, 0;
    return ($put, $bytes, $work);
}

sub memory {
    my ($rig) = @_;
    return $rig->redis('info', 'memory') =~ /^used_memory:(\d+)/m ? $1 : die "no used_memory\n";
}

my $rig = Psync->new(sim => ['--companies', 0, '--customers', 0]);
$rig->redis('config', 'set', 'appendfsync', 'everysec');
my $socket = "$rig->{dir}/redis.sock";
my $packages = "$root/build/bench-peers";
my $peer = Psync::npm_packages() // Psync::npm_packages("$root/tests/bench/peers", $packages);
my (%ours, %theirs);
for (1 .. runs()) {
    for my $tenants (1, 100) {
        my ($put, $bytes, $work) = measure($rig, $units, "$root/build/release/tests/bench/queue",
            "unix://$socket", $units, $tenants, 8);
        push @{$ours{"put $tenants"}}, $units / $put;
        push @{$ours{"work $tenants"}}, $units / $work;
        push @{$ours{"bytes $tenants"}}, $bytes;
    }
    next if defined $peer;
    local $ENV{PACKAGES} = $packages;
    my $jobs = int($units / 4);
    my ($put, $bytes, $work) = measure($rig, $jobs, Psync::node(), "$root/tests/bench/peers/bullmq.mjs",
        $socket, $jobs, 100);
    push @{$theirs{put}}, $jobs / $put;
    push @{$theirs{work}}, $jobs / $work;
    push @{$theirs{bytes}}, $bytes;
}
row('queue.work_one_tenant', 'units/s', ['>=', 70000], @{$ours{'work 1'}});
row('queue.work_100_tenants', 'units/s', undef, @{$ours{'work 100'}});
row('queue.put', 'units/s', undef, @{$ours{'put 1'}});
row('queue.memory', 'bytes/unit', ['<=', 300], @{$ours{'bytes 1'}});
if (defined $peer) {
    absent('queue.work_to_bullmq', $peer);
} else {
    row('queue.bullmq_work', 'jobs/s', undef, @{$theirs{work}});
    row('queue.bullmq_put', 'jobs/s', undef, @{$theirs{put}});
    row('queue.bullmq_memory', 'bytes/job', undef, @{$theirs{bytes}});
    row('queue.work_to_bullmq', 'ratio', ['>=', 4], map { $ours{'work 1'}[$_] / $theirs{work}[$_] }
        0 .. $#{$theirs{work}});
}
