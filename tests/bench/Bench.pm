# What the benchmarks share: rows of `make bench`, medians of several runs, what a process used, and
# rigs that are run as an installation is: Redis and PostgreSQL wait for their disk.
package Bench;
use strict;
use warnings;

use Exporter qw(import);
use IO::Socket::INET;
use List::Util qw(max);
use Psync;
use Time::HiRes qw(sleep time);

our @EXPORT_OK = qw(row rate median percentile runs rss_kb forget_peak most_mb absent have rig unlimited full
    without_invoices deliver raw_post free_port);

# How often each figure is taken; the median counts.
sub runs { return $ENV{BENCH_RUNS} // 5 }

sub have { return system('sh', '-c', "command -v $_[0] >/dev/null") == 0 }

sub median {
    my @v = sort { $a <=> $b } @_;
    return @v % 2 ? $v[@v / 2] : ($v[@v / 2 - 1] + $v[@v / 2]) / 2;
}

sub percentile { my ($p, @v) = @_; return (sort { $a <=> $b } @v)[int($p * $#v + 0.5)] }

sub form { my ($n) = @_; return $n >= 100 ? sprintf('%.0f', $n) : sprintf('%.3g', $n) }

# One line: name, value, unit, the spread of the runs, and the goal with whether it is met. goal is
# ['>=', number] or ['<=', number], or undef where a figure is only told.
sub row {
    my ($name, $unit, $goal, @values) = @_;
    return line($name, $unit, $goal, \@values);
}

# The same, and beside it what an item cost of processor time, and the most memory a process held:
# {rate => [], cpu => [us], mb => [MB]}.
sub rate {
    my ($name, $unit, $goal, $got) = @_;
    return line($name, $unit, $goal, $got->{rate},
        map { $got->{$_} ? form(median(@{$got->{$_}})) : '' } qw(cpu mb));
}

sub line {
    my ($name, $unit, $goal, $values, @beside) = @_;
    my $value = median(@$values);
    my ($least, $most) = (sort { $a <=> $b } @$values)[0, -1];
    my $met = !$goal ? '' : ($goal->[0] eq '>=' ? $value >= $goal->[1] : $value <= $goal->[1])
        ? 'met' : 'MISSED';
    print join("\t", $name, form($value), $unit, form($least) . '..' . form($most),
        $goal ? "$goal->[0] $goal->[1]" : '-', $met, @beside), "\n";
    STDOUT->flush;
    return $value;
}

# A peer that is not installed: said, and its ratio left out.
sub absent {
    my ($name, $why) = @_;
    print join("\t", $name, '-', '-', '-', '-', "SKIP $why"), "\n";
    return;
}

# The most memory a process ever held.
sub rss_kb {
    my ($pid) = @_;
    open my $f, '<', "/proc/$pid/status" or return 0;
    while (my $line = <$f>) {
        return $1 if $line =~ /^VmHWM:\s+(\d+)/;
    }
    return 0;
}

# From now on: a program needs most at its start, which is over before anything is measured.
sub forget_peak {
    my ($pid) = @_;
    open my $f, '>', "/proc/$pid/clear_refs" or return;
    print {$f} 5;
    close $f;
    return;
}

# The same of a program or the largest of its children, in MB.
sub most_mb {
    my ($rig, $pid) = @_;
    return max(map { rss_kb($_) / 1024 } $pid, $rig->children_of($pid));
}

sub free_port {
    return IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')->sockport;
}

# ---- rigs ----

sub rig {
    my (%o) = @_;
    return Psync->new(own_postgres => 1, session => 1, %o, settings => {WORKER_PROCESSES => 2, LEASE_S => 30,
        %{$o{settings} // {}}}, postgres_options => ['-c', 'fsync=on', '-c', 'shared_buffers=128MB',
        @{$o{postgres_options} // []}]);
}

# A rig whose accounts have no limits, and whose limiter believes the providers said so.
sub unlimited {
    my ($sim, %o) = @_;
    my $rig = rig(sim => $sim, %o);
    $rig->sim_stripe(PATCH => '', {settings => {limit_global_test => 0, limit_endpoint => 0}});
    $rig->sim_hubspot(PATCH => '', {settings => {map { ("limit_$_" => 0) }
        qw(general search associations)}});
    for my $bucket ('stripe:' . Psync::ACCOUNT . ':test:api',
        map { 'hubspot:' . Psync::PORTAL . ":live:$_" } qw(general search associations)) {
        $rig->redis('hset', "{ps0}:q:$bucket", 'tr', 100_000);
    }
    return $rig;
}

# The run that begin makes, once it ended: records in a second, microseconds of our processor time
# for each of them (worker), and of all there is beside the simulator (all: worker, PostgreSQL, Redis).
sub full {
    my ($rig, $records, $begin) = @_;
    my $cpu = sub { my $sum = 0; $sum += $rig->cpu_s($rig->pid($_)) for @_; return $sum };
    my @all = qw(worker postgres redis);
    my ($worker, $all) = ($cpu->('worker'), $cpu->(@all));
    my $last = $rig->value('select coalesce(max(run_id), 0) from psync.run');
    $begin->();
    my $run = "(select max(run_id) from psync.run where kind = 'full' and run_id > $last)";
    Psync::until_true(900, sub { $rig->value("select count(*) from psync.run
        where run_id = $run and finished_at is not null") })
        or die "a full sync does not end\n";
    my ($status, $took) = split /\|/, $rig->value("select status,
        extract(epoch from finished_at - started_at) from psync.run where run_id = $run");
    $status eq 'succeeded' or die "a full sync ended $status\n";
    return {rate => $records / $took, took => $took,
        cpu => ($cpu->('worker') - $worker) / $records * 1e6,
        all => ($cpu->(@all) - $all) / $records * 1e6};
}

# Connects Stripe for customers, subscriptions and what these point to: invoices, of which there are
# as many again, are another figure.
sub without_invoices {
    my ($rig) = @_;
    $rig->connect_stripe;
    $rig->must('connection', 'set', 'stripe', '--objects', 'customer,subscription,price,product,coupon');
    $rig->cmd('run', 'cancel', $_) for split ' ', $rig->value("select string_agg(run_id::text, ' ')
        from psync.run where status in ('queued', 'running')");
    return;
}

# ---- deliveries ----

# A delivery as bytes, to be sent over a connection that stays.
sub raw_post {
    my ($body, $headers, $url) = @{$_[0]};
    my ($host, $path) = $url =~ m{^http://([^/]+)(/.*)$};
    my %all = (Host => $host, 'Content-Length' => length $body, %$headers);
    return join('', "POST $path HTTP/1.1\r\n", map({ "$_: $all{$_}\r\n" } sort keys %all), "\r\n",
        $body);
}

# Send them, so many a second (0: as fast as they are answered), over a few connections. The instant
# each was sent, by the wall clock.
sub deliver {
    my ($rig, $per_s, @posts) = @_;
    my ($host) = $rig->gateway =~ m{^http://(.*)$};
    my @sockets = map { IO::Socket::INET->new(PeerAddr => $host, Proto => 'tcp')
        or die "connect: $!" } 1 .. 16;
    my (@waiting, @sent);
    my $answer = sub {
        my ($n) = @_;
        sysread($sockets[$n], my $text, 4096) or die "the gateway closed: $!\n";
        $text =~ m{^HTTP/1\.1 200 } or die "a delivery is refused: $text\n";
        $waiting[$n] = 0;
    };
    my $began = time;
    for my $i (0 .. $#posts) {
        my $n = $i % @sockets;
        $answer->($n) if $waiting[$n];
        my $left = $per_s ? $began + $i / $per_s - time : 0;
        sleep $left if $left > 0;
        push @sent, time;
        syswrite $sockets[$n], $posts[$i];
        $waiting[$n] = 1;
    }
    $waiting[$_] and $answer->($_) for 0 .. $#sockets;
    return @sent;
}

1;
