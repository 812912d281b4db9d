#!/usr/bin/perl
# PostgreSQL behind PgBouncer in transaction mode, then PostgreSQL with sslmode=verify-full and
# Redis with TLS and a password, under a CA of our own: full syncs and deliveries go through, and
# who has no right name or CA gets nothing.
use strict;
use warnings;
use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::Bin/lib";
use Chaos;
use Psync;
use Redises;
use Test::More;
use Tls;

my ($pgbouncer) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin';
plan skip_all => 'no pgbouncer (Debian: apt-get install pgbouncer)' unless $pgbouncer;

# ---- a CA, a certificate of 'localhost' for both servers, and another CA ----
my $tls = tempdir('psync-tls-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0711, $tls;

sub text_to {
    my ($path, $text) = @_;
    open my $f, '>', $path or die "'$path': $!";
    print {$f} $text;
    close $f or die "'$path': $!";
    return;
}
Tls::make($tls, 'DNS:localhost');
my @postgres = $> == 0 ? (getpwnam 'postgres')[2, 3] : ($>, $));
system 'cp', "$tls/server.key", "$tls/pg.key";
chmod 0600, "$tls/pg.key";
chown @postgres[0, 1], "$tls/pg.key" if $> == 0;

# ---- the servers ----
my %port = map { $_ => Redises::free_port() } qw(postgres pgbouncer redis tunnel);
my $beside = bless {dir => $tls}, 'Psync';
mkdir "$tls/log";
text_to("$tls/users", qq("postgres" ""\n));
text_to("$tls/pgbouncer.ini", <<"END");
[databases]
* = host=localhost port=$port{postgres}
[pgbouncer]
listen_addr = localhost
listen_port = $port{pgbouncer}
unix_socket_dir =
auth_type = trust
auth_file = $tls/users
admin_users = postgres
pool_mode = transaction
default_pool_size = 4
max_client_conn = 200
END
chmod 0644, "$tls/users", "$tls/pgbouncer.ini";

sub start_pgbouncer {
    my @as = $> == 0 ? ('--reuid', 'postgres', '--regid', 'postgres', '--init-groups') : ();
    return $beside->spawn('pgbouncer', [$pgbouncer, '-q', "$tls/pgbouncer.ini"], setpriv => \@as);
}

# Where hiredis has no TLS, the tunnel of docs/operations.md.
my $tunnel = !Tls::to_redis();
my $redis_url = "rediss://:sesame\@localhost:$port{redis}/0?ca=$tls/ca.crt";
if ($tunnel) {
    my (undef, undef, $said) = Psync::run_argv({%ENV,
        PIVOTAL_SYNC_REDIS_URL => "rediss://localhost:$port{redis}"},
        undef, Psync::bin() . '/pivotal-sync', 'queue', 'stats');
    like($said, qr/tunnel/, 'a build without TLS to Redis says what does it');
    text_to("$tls/stunnel.conf", <<"END");
foreground = yes
pid =
[redis]
client = yes
accept = 127.0.0.1:$port{tunnel}
connect = localhost:$port{redis}
CAfile = $tls/ca.crt
verifyChain = yes
checkHost = localhost
END
    $beside->spawn('stunnel', ['stunnel', "$tls/stunnel.conf"]);
    $redis_url = "redis://:sesame\@127.0.0.1:$port{tunnel}";
}
my $bouncer = start_pgbouncer();
@ENV{qw(REDISCLI_AUTH PGPORT)} = ('sesame', $port{postgres}); # for the test's own clients
my $chaos = Chaos->new(own_postgres => 1, workers => 1,
    sim => ['--companies', 100, '--list-members', 80, '--contacts', 100, '--customers', 40],
    # A pooled session that our settings did not reach would show.
    postgres_options => ['-c', 'listen_addresses=localhost', '-c', "port=$port{postgres}", '-c',
        'ssl=on', '-c', "ssl_cert_file=$tls/server.crt", '-c', "ssl_key_file=$tls/pg.key", '-c',
        'timezone=Asia/Tokyo', '-c', 'datestyle=SQL, DMY', '-c', 'bytea_output=escape'],
    redis_options => ['--tls-port', $port{redis}, '--tls-cert-file', "$tls/server.crt",
        '--tls-key-file', "$tls/server.key", '--tls-ca-cert-file', "$tls/ca.crt",
        '--tls-auth-clients', 'no', '--requirepass', 'sesame'],
    settings => {
        DATABASE_URL => "postgresql://postgres\@localhost:$port{pgbouncer}/postgres",
        MIGRATE_DATABASE_URL => "postgresql://postgres\@localhost:$port{postgres}/postgres",
        REDIS_URL => $redis_url,
    });
my $rig = $chaos->rig;

# ---- through PgBouncer ----
$rig->cmd('run-now', $_) for qw(hubspot stripe);
$chaos->change(24);
my $c = $chaos->converges('through PgBouncer', 60);
my $stats = Psync::psql("postgresql://postgres\@localhost:$port{pgbouncer}/pgbouncer",
    'show stats_totals');
my ($transactions) = $stats =~ /^postgres\|(\d+)/m;
my $sessions = $rig->value("select count(*) from pg_stat_activity where client_port is not null"
    . " and backend_type = 'client backend' and application_name <> 'psql'");
cmp_ok($transactions // 0, '>', 200, 'it saw ' . ($transactions // 0) . ' transactions');
cmp_ok($sessions, '<=', 5, "in $sessions sessions of PostgreSQL");
$chaos->change(8);
Psync::end_pid($bouncer, 'KILL', 5);
$chaos->change(8);
$bouncer = start_pgbouncer();
$c = $chaos->converges('PgBouncer killed and started again', 60);
note(sprintf 'PgBouncer: lost %d, wrong %d, of %d', @$c{qw(lost wrong of)});
is($rig->value("select count(*) from psync.attempt where status = 'failed' and error_code in"
    . " ('db_rejected', 'internal_error')"), 0, 'PostgreSQL refused nothing');

# ---- the contract of the store, through it ----
# Of the same build as the programs.
my $contract = ($ENV{TESTS_BUILT} // Psync::root() . '/build/release/tests') . '/contract';
for my $part ('store', 'store_prepared') {
    my ($code, $out) = Psync::run_argv({%ENV, CMOCKA_MESSAGE_OUTPUT => 'TAP',
        PIVOTAL_SYNC_TEST_DATABASE_URL => $rig->{settings}{DATABASE_URL},
        PIVOTAL_SYNC_TEST_POOLED => 1}, undef, "$contract/$part");
    is($code, 0, "the contract of the $part holds behind it") or diag($out);
}

# ---- verify-full ----
my $full = "sslmode=verify-full&sslrootcert=$tls";
my $direct = "postgresql://postgres\@localhost:$port{postgres}/postgres";
$rig->stop($_) for @{$chaos->{programs}};
Psync::end_pid($bouncer, 'KILL', 5);
$rig->{settings}{DATABASE_URL} = "$direct?$full/ca.crt";
$chaos->armed(sub { $rig->start(@{$chaos->{programs}}) });
$chaos->change(16);
$c = $chaos->converges('PostgreSQL and Redis with TLS', 60);
wait_for('every connection to PostgreSQL is encrypted', 10, sub {
    !$rig->value('select count(*) from pg_stat_ssl join pg_stat_activity using (pid)'
    . " where not ssl and application_name in ('worker', 'scheduler', 'webhook-gw')");
});
note(sprintf 'TLS: lost %d, wrong %d, of %d%s', @$c{qw(lost wrong of)},
    $tunnel ? ' (Redis through a tunnel)' : '');

sub refused {
    my ($what, $like, %settings) = @_;
    my ($status, $stdout, $text) = Psync::run_argv({$rig->environment(%settings)}, undef,
        Psync::bin() . '/pivotal-sync', exists $settings{REDIS_URL} ? qw(queue stats) : 'status');
    is($status, 8, $what);
    like($text, $like, 'and why');
    return;
}
refused('another CA is refused', qr/certificate/i, DATABASE_URL => "$direct?$full/stranger.crt");
refused('another name is refused', qr/does not match|certificate/i,
    DATABASE_URL => $rig->{settings}{DATABASE_URL} =~ s/localhost/127.0.0.1/r);
refused('no password for Redis is refused', qr/refuses us|NOAUTH/,
    REDIS_URL => $redis_url =~ s/:sesame@//r);
if (!$tunnel) {
    refused('another CA of Redis is refused', qr/certificate|SSL/i,
        REDIS_URL => $redis_url =~ s{ca\.crt}{stranger.crt}r);
    refused('another name of Redis is refused', qr/certificate|SSL/i,
        REDIS_URL => $redis_url =~ s/localhost/127.0.0.1/r);
}
Chaos::report($c);
done_testing;
