#!/usr/bin/perl
# Redis and PostgreSQL die, are emptied, stand still, are full or read-only while records change;
# without a hand from anybody every row ends equal.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Chaos;
use Psync;
use Test::More;
use Time::HiRes qw(sleep time);

my $long = Chaos::long_form();
my $chaos = Chaos->new(own_postgres => 1, sim => ['--companies', 80, '--list-members', 60,
    '--contacts', 80, '--customers', 40]);
my $rig = $chaos->rig;
my $limit = 35;
my $from = $rig->value('select last_value from psync.fetch_no');
my $last;

# Changes before, during and after.
sub trouble {
    my ($what, $break, $mend, %o) = @_;
    my $rounds = $long ? $o{rounds} // 3 : 1;
    for my $round (1 .. $rounds) {
        my $name = $rounds > 1 ? "$what, $round" : $what;
        $chaos->change(8);
        $break->();
        $chaos->change(8);
        my $until = time + ($long ? $o{long_s} // 3 : $o{quick_s} // 1);
        while (time < $until) {
            $chaos->change(1);
            sleep 0.1;    # the pace of the changes
        }
        $mend->();
        $chaos->change(4);
        $last = $chaos->converges($name, $limit + ($o{patience_s} // 0));
    }
}

sub workers {
    my ($signal) = @_;
    for my $name (grep { /^worker/ } @{$chaos->{programs}}) {
        kill $signal, $rig->pid($name), $rig->children_of($rig->pid($name));
    }
}

trouble('Redis killed', sub { Psync::end_pid(delete $rig->{pids}{redis}, 'KILL', 5) },
    sub { $rig->start_redis });
trouble('Redis restarted in order', sub { $rig->stop_redis }, sub { $rig->start_redis });

# What waited in Redis is gone with everything else.
trouble('FLUSHALL under work', sub { $rig->redis('flushall') }, sub { $rig->redis('flushall') });
trouble('FLUSHALL with everything waiting', sub { workers('STOP') }, sub {
    $rig->sim(POST => 'webhooks/flush', {deadline_ms => 10000});
    $rig->redis('flushall');
    workers('CONT');
});
trouble('SCRIPT FLUSH', sub { $rig->redis('script', 'flush') },
    sub { $rig->redis('script', 'flush') });
trouble('Redis stands still', sub { kill 'STOP', $rig->pid('redis') },
    sub { kill 'CONT', $rig->pid('redis') }, quick_s => 6, long_s => 60, rounds => 1);
trouble('Redis is full', sub { $rig->redis('config', 'set', 'maxmemory', '1mb') },
    sub { $rig->redis('config', 'set', 'maxmemory', '0') }, quick_s => 4, long_s => 20);

trouble('PostgreSQL restarted', sub { $rig->stop_postgres }, sub { $rig->start_postgres });
trouble('PostgreSQL killed', sub { Psync::end_pid(delete $rig->{pids}{postgres}, 'QUIT', 10) },
    sub { $rig->start_postgres });
my $terminate = sub {
    Psync::psql($rig->{server_url}, 'select count(pg_terminate_backend(pid)) from pg_stat_activity'
        . " where application_name in ('worker', 'scheduler', 'webhook-gw')");
};
trouble('its backends terminated', $terminate, $terminate);
sub read_only {
    my ($on) = @_;
    Psync::psql($rig->{server_url}, "alter system set default_transaction_read_only = $on");
    Psync::psql($rig->{server_url}, 'select pg_reload_conf()');
}
trouble('PostgreSQL is read-only', sub { read_only('on') }, sub {
    system 'psql', '-qXd', $rig->{server_url}, '-c', 'set transaction_read_only = off', '-c',
        'set default_transaction_read_only = off', '-c',
        'alter system reset default_transaction_read_only', '-c', 'select pg_reload_conf()', '-o',
        '/dev/null';
});

$chaos->logged($from);
is($rig->value("select count(*) from psync.attempt where status = 'failed' and error_code in"
    . " ('db_unavailable', 'queue_unavailable', 'internal_error', 'worker_lost', 'db_rejected')"),
    0, 'nothing of it counts as a failed attempt');
is($rig->cmd_json('queue', 'stats')->{buried} // 0, 0, 'nothing needs a person');
Chaos::report($last);
done_testing;
