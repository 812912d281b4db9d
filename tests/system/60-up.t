#!/usr/bin/perl
# `pivotal-sync up`: everything starts, what dies comes back, a restart of the gateway refuses
# nobody, the end is orderly and leaves nothing, and a second start finds the data.
use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use HTTP::Tiny;
use Test::More;
use Time::HiRes qw(sleep time);

my $root = abs_path(dirname(__FILE__) . '/../..');
my $bin = $ENV{BIN} // "$root/build/bin";
for my $program ('', qw(-webhook-gw -scheduler -worker)) {
    plan skip_all => "no pivotal-sync$program in $bin" unless -x "$bin/pivotal-sync$program";
}
delete $ENV{$_} for grep { /^PIVOTAL_SYNC_/ || /^(DATABASE|REDIS)_URL$/ } keys %ENV;

my $dir = tempdir('psync-up-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0711, $dir;
my $http = HTTP::Tiny->new(timeout => 10, keep_alive => 0);

sub wait_until {
    my ($seconds, $condition) = @_;
    my $deadline = time + $seconds;
    while (time < $deadline) {
        my $value = $condition->();
        return $value if $value;
        sleep 0.05;
    }
    return;
}

my ($pid, $out);
sub start_up {
    $out = "$dir/out";
    unlink $out;
    $pid = fork // die "fork: $!";
    if ($pid == 0) {
        open STDERR, '>', $out or die;
        open STDOUT, '>&', \*STDERR or die;
        exec "$bin/pivotal-sync", 'up', '--data-dir', "$dir/data", '--webhook-listen',
            '127.0.0.1:0', '--admin-listen', '127.0.0.1:0';
        die "exec: $!";
    }
}

sub said {
    open my $f, '<', $out or return '';
    local $/;
    return scalar(<$f>) // '';
}

sub children_of {
    my ($parent) = @_;
    open my $f, '<', "/proc/$parent/task/$parent/children" or return ();
    return split ' ', (<$f> // '');
}

sub descendants {
    my ($parent) = @_;
    return map { ($_, descendants($_)) } children_of($parent);
}

sub child_named {
    my ($name) = @_;
    for my $child (children_of($pid)) {
        open my $f, '<', "/proc/$child/cmdline" or next;
        # Redis writes its socket behind its name.
        return $child if grep { m{/\Q$name\E( |$)} } split /\0/, (<$f> // '');
    }
    return;
}

sub stop_up {
    kill 'TERM', $pid;
    my $ended = wait_until(60, sub { waitpid($pid, 1) == $pid });
    my $status = $?;
    $pid = undef unless !$ended;
    return $ended ? $status : -1;
}

END {
    if (defined $pid) {
        my $status = $?;
        kill 'KILL', $pid, descendants($pid);
        waitpid $pid, 0;
        $? = $status;
    }
}

start_up();
ok wait_until(120, sub { said() =~ /everything is running/ }), 'everything starts'
    or BAIL_OUT(said());
my ($gateway) = said() =~ m{webhooks\s+(http://\S+?)/webhooks};
my ($database) = said() =~ /psql '([^']+)'/;
is $http->get("$gateway/readyz")->{status}, 200, 'the gateway is ready';
is `psql '$database' -Atc 'select count(*) > 80 from psync_bi.error_reference'`, "t\n",
    'the database is migrated';
is sprintf('%o', (stat "$dir/data/secret-key")[2] & 07777), '600', 'nobody else reads the key';
like `redis-cli -s $dir/data/run/redis/redis.sock config get appendfsync`, qr/always/,
    'Redis writes through';
like `redis-cli -s $dir/data/run/redis/redis.sock config get maxmemory-policy`, qr/noeviction/,
    'Redis forgets nothing';

my $worker = child_named('pivotal-sync-worker');
kill 'KILL', $worker;
ok wait_until(10, sub { my $w = child_named('pivotal-sync-worker'); $w && $w != $worker }),
    'a worker that was killed comes back';

my $before = child_named('pivotal-sync-webhook-gw');
kill 'TERM', $before;
my %statuses;
my $again = wait_until(20, sub {
    $statuses{$http->get("$gateway/livez")->{status}}++;
    my $now = child_named('pivotal-sync-webhook-gw');
    return $now && $now != $before;
});
ok $again, 'a gateway that ended comes back';
$statuses{$http->get("$gateway/livez")->{status}}++ for 1 .. 5;
ok !$statuses{599}, 'nobody was refused meanwhile'
    or diag explain \%statuses;

for my $service (['redis-server', 'Redis'], ['postgres', 'PostgreSQL']) {
    my ($program, $name) = @$service;
    my $old = child_named($program);
    kill 'KILL', $old;
    ok wait_until(30, sub { my $now = child_named($program); $now && $now != $old }),
        "$name that was killed comes back";
}
ok wait_until(60, sub { `psql '$database' -Atc 'select 1' 2>/dev/null` eq "1\n" }),
    'PostgreSQL answers again';
ok wait_until(60, sub { $http->get("$gateway/readyz")->{status} == 200 }),
    'the gateway is ready again';

my $second = `$bin/pivotal-sync up --data-dir $dir/data 2>&1`;
is $? >> 8, 5, 'a second one in the same folder is refused';
like $second, qr/runs already/, 'and says why';

system 'psql', $database, '-qc', "insert into psync.workspace (name) values ('kept')";
my @all = descendants($pid);
cmp_ok scalar(@all), '>', 6, 'there are processes to end';
is stop_up(), 0, 'SIGTERM ends it with 0';
ok !(grep { kill 0, $_ } @all), 'no process is left';

start_up();
ok wait_until(120, sub { said() =~ /everything is running/ }), 'it starts again'
    or BAIL_OUT(said());
is `psql '$database' -Atc "select name from psync.workspace"`, "kept\n", 'with its data';
@all = descendants($pid);
kill 'KILL', $pid;
waitpid $pid, 0;
$pid = undef;
ok wait_until(30, sub { !grep { kill 0, $_ } @all }), 'killed hard, it leaves no process either';

done_testing;
