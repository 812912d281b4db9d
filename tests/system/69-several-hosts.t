#!/usr/bin/perl
# Three machines, each a network namespace with an address of its own: one with PostgreSQL, Redis and
# the providers, A with gateway, scheduler and a worker, B with a worker. B is cut off in the middle
# of its work, loses its leases, and does no harm when it comes back.
use strict;
use warnings;

BEGIN {
    # All of it in a namespace of ours: nothing is left on the machine, whatever happens.
    if (!$ENV{PIVOTAL_SYNC_TEST_HOSTS}) {
        my $why = $> != 0 ? 'network namespaces need root'
            : system("unshare -n sh -c 'ip link set lo up && ip link add psx type veth' >/dev/null 2>&1")
            ? 'no network namespaces here (unshare -n, ip link add type veth)' : '';
        if ($why) {
            print "1..0 # SKIP $why\n";
            exit 0;
        }
        $ENV{PIVOTAL_SYNC_TEST_HOSTS} = 1;
        exec 'unshare', '-n', $^X, $0 or die "unshare: $!";
    }
}
use FindBin;
use lib "$FindBin::Bin/lib";
use Chaos;
use Psync;
use Redises;
use Test::More;
use Time::HiRes qw(time);

my ($core, %at) = ('10.213.0.1', a => '10.213.0.2', b => '10.213.0.3');
my $beside = Redises->new->{host};
my %holder;

sub ip {
    my ($code, $out, $err) = Psync::run_argv(undef, undef, 'ip', @_);
    BAIL_OUT("ip @_: $err") if $code != 0;
    return;
}

sub inside {
    my ($host) = @_;
    return ('nsenter', '-t', $holder{$host}, '-n');
}
ip(qw(link set lo up));
ip('addr', 'add', "$core/32", qw(dev lo));
for my $host (sort keys %at) {
    my $end = "$beside->{dir}/$host.up";
    $holder{$host} = $beside->spawn("host-$host", ['unshare', '-n', 'sh', '-c',
        "ip link set lo up && touch $end && exec sleep 3600"]);
    Psync::until_true(10, sub { -e $end }) or BAIL_OUT("no namespace for $host");
    ip('link', 'add', "to-$host", 'type', 'veth', 'peer', 'name', 'eth0', 'netns', $holder{$host});
    ip('link', 'set', "to-$host", 'up');
    ip('route', 'add', $at{$host}, 'dev', "to-$host", 'src', $core);
    my ($code, $out, $err) = Psync::run_argv(undef, undef, inside($host), 'sh', '-c',
        "ip addr add $at{$host}/32 dev eth0 && ip link set eth0 up && ip route add $core dev eth0");
    BAIL_OUT("host $host: $err") if $code != 0;
}

sub cut { return ip('link', 'set', 'to-b', 'down') }

sub mend {
    ip('link', 'set', 'to-b', 'up');
    return ip('route', 'replace', $at{b}, 'dev', 'to-b', 'src', $core);
}

my %port = map { $_ => Redises::free_port() } qw(postgres redis hubspot stripe gateway);
open my $hba, '>', "$beside->{dir}/hba" or die;
print {$hba} "local all all trust\nhost all all 10.213.0.0/16 trust\n";
close $hba;
chmod 0711, $beside->{dir};
chmod 0644, "$beside->{dir}/hba";
$ENV{PGPORT} = $port{postgres};    # for the test's own psql
my @a = inside('a');
my $chaos = Chaos->new(own_postgres => 1, no_sync => 1, workers => 2,
    on => {'webhook-gw' => \@a, scheduler => \@a, worker => \@a, 'worker-2' => [inside('b')]},
    gateway => "http://$at{a}:$port{gateway}",
    postgres_options => ['-c', "listen_addresses=$core", '-c', "port=$port{postgres}", '-c',
        "hba_file=$beside->{dir}/hba"],
    redis_options => ['--port', $port{redis}, '--bind', $core, '--protected-mode', 'no'],
    sim => ['--hubspot', "$core:$port{hubspot}", '--stripe', "$core:$port{stripe}", '--companies',
        120, '--list-members', 100, '--contacts', 120, '--customers', 50],
    settings => {
        DATABASE_URL => "postgresql://postgres\@$core:$port{postgres}/postgres",
        REDIS_URL => "redis://$core:$port{redis}",
        WEBHOOK_LISTEN => "$at{a}:$port{gateway}",
    });
my $rig = $chaos->rig;
$rig->run_now($_) for qw(hubspot stripe);

sub worker_of_b {
    my ($pid) = $rig->children_of($rig->pid('worker-2'));
    my ($row) = grep { $_->{worker} =~ /:\Q$pid\E$/ } @{$rig->cmd_json('worker', 'list')};
    return $row;
}
wait_for('both hosts have a worker', 20, sub { @{$rig->cmd_json('worker', 'list')} >= 2 && worker_of_b() });

# ---- B is cut off while it holds work ----
my $rounds = Chaos::long_form() ? 6 : 1;
my ($c, $from) = (undef, $rig->value('select coalesce(max(attempt_id), 0) from psync.attempt'));
for my $round (1 .. $rounds) {
    $rig->sim(POST => 'faults', {provider => $_, hold_ms => 300, times => -1}) for qw(hubspot stripe);
    $rig->cmd('run-now', $_) for qw(hubspot stripe);
    wait_for('B holds work', 30, sub {
        $chaos->change(3);
        my $row = worker_of_b() or return 0;
        return ($row->{claims} // 0) > 0;
    });
    my $before = $rig->value('select coalesce(max(attempt_id), 0) from psync.attempt');
    cut();
    my $cut = time;
    $rig->sim(DELETE => 'faults');
    $chaos->change(15);
    wait_for('its leases run out', 30, sub {
        $rig->value('select count(*) from psync.attempt where attempt_id > ' . $before
            . " and error_code = 'worker_lost'") > 0;
    });
    my $out = time - $cut;
    $c = $chaos->converges("B cut off, $round", 60);
    my $alone = time - $cut;
    $chaos->change(5);
    mend();
    my $back = time;
    wait_for('B works again', 40, sub {
        my $row = worker_of_b() or return 0;
        return $row->{seen_at_ms} > 1000 * $back;
    });
    my $again = time - $back;
    $chaos->change(15);
    $c = $chaos->converges("B is back, $round", 60);
    note(sprintf 'host cut off: leases out after %.1f s, A alone equal after %.1f s, B at work %.1f s'
        . ' after it was back; lost %d, wrong %d, of %d', $out, $alone, $again, @$c{qw(lost wrong of)});
}
wait_for('the full syncs go on to their end', 60, sub {
    $rig->value("select count(*) from psync.run where status in ('queued', 'running')") == 0;
});
is($rig->value("select count(*) from psync.run where status in ('failed', 'cancelled', 'partial')"),
    0, 'and are whole');
is($rig->value("select count(*) from psync.attempt where attempt_id > $from and status = 'failed'"),
    0, 'no attempt counts as failed')
    or diag($rig->value('select error_code, error_message, count(*) from psync.attempt'
        . " where attempt_id > $from and status = 'failed' group by 1, 2"));
is($rig->cmd_json('queue', 'stats')->{buried} // 0, 0, 'nothing needs a person');
Chaos::report($c);
done_testing;
