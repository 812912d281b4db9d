#!/usr/bin/perl
# The queue alone, beside those that other projects use: units of which nothing is to be done are put,
# claimed, leased and completed. One Redis for all, appendfsync everysec (as the peers are run; the
# gateway's rows have it at always).
use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin, "$FindBin::Bin/../system/lib";
use Bench qw(row rate runs absent percentile have rig free_port);
use IPC::Open2;
use Psync;

my $units = $ENV{BENCH_UNITS} // 100_000;
my $growth = $ENV{BENCH_GROWTH_UNITS} // 400_000;
my $waiting = $ENV{BENCH_WAITING} // 1_000_000;
my $root = Psync::root();
my $queue = "$root/build/release/tests/bench/queue";
my $rig = rig(sim => ['--companies', 0, '--customers', 0]);
$rig->redis('config', 'set', 'appendfsync', 'everysec');
my $socket = "$rig->{dir}/redis.sock";

sub memory {
    return $rig->redis('info', 'memory') =~ /^used_memory:(\d+)/m ? $1 : die "no used_memory\n";
}

# Runs a program of the form of queue.c and adds to what it told: put and rate a second, bytes a
# waiting unit, cpu of a unit (its own and Redis'), mb.
sub measure {
    my ($got, $n, @command) = @_;
    $rig->redis('flushall');
    my $before = memory();
    my $pid = open2(my $out, my $in, @command);
    my ($put) = (readline($out) // '') =~ /^put (\S+)/ or die "@command: no figure\n";
    push @{$got->{bytes}}, (memory() - $before) / $n;
    my $redis = $rig->cpu_s($rig->pid('redis'));
    print $in "go\n";
    close $in;
    my ($work, $cpu) = (readline($out) // '') =~ /^work (\S+)(?: (\S+))?/ or die "@command: no figure\n";
    waitpid $pid, 0;
    $? == 0 or die "@command failed\n";
    push @{$got->{put}}, $n / $put;
    push @{$got->{rate}}, $n / $work;
    push @{$got->{cpu}}, ($cpu + $rig->cpu_s($rig->pid('redis')) - $redis) / $n * 1e6 if defined $cpu;
    return;
}
sub ours {
    my ($got, $n, $connections, @database) = @_;
    return measure($got, $n, $queue, "unix://$socket", 'work', $n, $connections, 8, @database);
}
# The milliseconds that it tells, each.
sub told {
    my @command = ($queue, "unix://$socket", @_);
    $rig->redis('flushall');
    open my $out, '-|', @command or die "@command: $!";
    my @ms = map { /^\w+ (\S+)/ ? $1 : () } <$out>;
    close $out or die "@command failed\n";
    return @ms;
}

# ---- what is there beside us ----
my %peer;
my $packages = "$root/build/bench-peers";
my $absent = Psync::npm_packages() // Psync::npm_packages("$root/tests/bench/peers", $packages);
$peer{bullmq} = $absent ? $absent : sub {
    local $ENV{PACKAGES} = $packages;
    my $jobs = int($units / 4);
    measure($_[0], $jobs, Psync::node(), "$root/tests/bench/peers/bullmq.mjs", $socket, $jobs, 100);
};
$peer{sidekiq} = !have('sidekiq') ? 'not installed' : sub {
    my $jobs = int($units / 4);
    measure($_[0], $jobs, 'ruby', '-W0', "$root/tests/bench/peers/sidekiq.rb", $socket, $jobs);
};
my $port = free_port();
$peer{beanstalkd} = !have('beanstalkd') ? 'not installed' : sub {
    $rig->{pids}{beanstalkd} //= $rig->spawn('beanstalkd', ['beanstalkd', '-l', '127.0.0.1', '-p', $port]);
    Psync::until_true(10, sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) })
        or die "beanstalkd does not start\n";
    measure($_[0], $units, $^X, "$root/tests/bench/peers/beanstalkd.pl", $port, $units);
};

# ---- from claim to complete ----
my (%one, %many, %logged, %them);
for (1 .. runs()) {
    ours(\%one, $units, 1);
    ours(\%many, $units, 100);
    ours(\%logged, $units, 1, $rig->{database_url});
    ref $peer{$_} and $peer{$_}->($them{$_} //= {}) for sort keys %peer;
    $rig->value('truncate psync.attempt');
}
rate('queue.work_one_tenant', 'units/s', ['>=', 70000], \%one);
rate('queue.work_100_tenants', 'units/s', undef, \%many);
rate('queue.work_with_log_rows', 'units/s', ['>=', 40000], \%logged);
row('queue.put', 'units/s', undef, @{$one{put}});
row('queue.memory', 'bytes/unit', ['<=', 300], @{$one{bytes}});
for (['bullmq', 4], ['sidekiq', 5], ['beanstalkd']) {
    my ($name, $goal) = @$_;
    my $their = $them{$name};
    if (!$their) {
        absent("queue.work_to_$name", $peer{$name});
        next;
    }
    rate("queue.${name}_work", 'jobs/s', undef, $their);
    row("queue.${name}_put", 'jobs/s', undef, @{$their->{put}});
    row("queue.${name}_memory", 'bytes/job', undef, @{$their->{bytes}}) unless $name eq 'beanstalkd';
    row("queue.work_to_$name", 'ratio', $goal && ['>=', $goal],
        map { $one{rate}[$_] / $their->{rate}[$_] } 0 .. $#{$their->{rate}});
}

# ---- how soon a unit is taken ----
my (@p50, @p99, @urgent);
for (1 .. runs()) {
    my @ms = told('pickup', 250, 50);
    push @p50, percentile(0.50, @ms);
    push @p99, percentile(0.99, @ms);
}
row('queue.pickup_50_a_second_p50', 'ms', ['<=', 0.4], @p50);
row('queue.pickup_50_a_second_p99', 'ms', ['<=', 1], @p99);
my @ms = told('urgent', $waiting, 1000, 200 * runs());
push @urgent, percentile(0.99, splice @ms, 0, 200) while @ms;
row("queue.interactive_claim_behind_${waiting}_nightly_p99", 'ms', ['<=', 1], @urgent);

# ---- the cost of a unit, by how many connections there are ----
my %cost;
for my $connections (1, 100, 10_000) {
    ours($cost{$connections} //= {}, $growth, $connections) for 1 .. ($ENV{BENCH_RUNS} ? runs() : 3);
    rate("growth.queue_${connections}_connections", 'units/s', undef, $cost{$connections});
}
row('growth.queue_cost_10000_to_1_connections', 'ratio', ['<=', 1.15],
    map { $cost{10_000}{cpu}[$_] / $cost{1}{cpu}[$_] } 0 .. $#{$cost{1}{cpu}});
