#!/usr/bin/perl
# What docker-compose.yml puts around the programs, without containers: the proxy that speaks TLS in
# front (Caddy, with the Caddyfile that is deployed), the health checks, and the login of Grafana;
# and the figure by which Kubernetes adds workers.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Psync;
use Redises;
use Test::More;

sub have { return system("command -v $_[0] >/dev/null 2>&1") == 0 }
my $root = Psync::root();
my %port = map { $_ => Redises::free_port() } qw(https http admin metrics);
my $url = "https://localhost:$port{https}";
my $rig = Psync->new(sim => [qw(--companies 6 --list-members 6 --contacts 0 --customers 4)],
    settings => {PUBLIC_URL => $url, ADMIN_LISTEN => "127.0.0.1:$port{admin}",
        ADMIN_PUBLIC_URL => "https://admin.localhost:$port{https}",
        METRICS_LISTEN => "0.0.0.0:$port{metrics}", TRUSTED_PROXIES => '127.0.0.0/8'});

# ---- health checks ----
sub health {
    my (%settings) = @_;
    my ($code, $out) = Psync::run_argv({$rig->environment(%settings)}, undef,
        Psync::bin() . '/pivotal-sync', 'health', '-o', 'json');
    return ($code, eval { json->decode($out) } // []);
}
my ($code, $rows) = health();
is($code, 8, 'a program that does not run is not healthy');
is($rows->[0]{said}, 'no answer', 'for nobody answers');
$rig->start('webhook-gw');
($code, $rows) = health();
is($code, 0, 'one that runs is, at its port of METRICS_LISTEN') or diag(explain $rows);
kill 'STOP', $rig->pid('webhook-gw');
($code, $rows) = health();
is($code, 8, 'one that stands still is not');
kill 'CONT', $rig->pid('webhook-gw');

my $folder = $rig->dir . '/run';
mkdir $folder;
$rig->{settings}{METRICS_LISTEN} = $folder;
($code, $rows) = health();
is($code, 8, 'a folder in which nobody is, is not healthy either');
$rig->start(qw(scheduler worker admin));
wait_for('every program of a folder is asked', 20, sub {
    ($code, $rows) = health();
    return $code == 0 && @$rows == 3;
}) or diag(explain $rows);
is(join(' ', map { $_->{program} } @$rows),
    'pivotal-sync-admin pivotal-sync-scheduler pivotal-sync-worker-1', 'by name');
$rig->stop('scheduler', 'KILL');
($code, $rows) = health();
is("$code " . join(' ', map { $_->{program} } grep { !$_->{ready} } @$rows),
    '8 pivotal-sync-scheduler', 'and the one that died is told');
$rig->start('scheduler');

# ---- what Kubernetes scales by is a series that there is ----
my $scaler = do { local (@ARGV, $/) = "$root/deploy/kubernetes/worker.yaml"; <> };
my ($metric, $label, $value) = $scaler =~ /name: (pivotal_sync_\w+)\n\s+selector: \{matchLabels: \{(\w+): (\w+)\}\}/;
wait_for("the scheduler tells $metric of $value", 20, sub {
    (Psync::run_argv(undef, undef, 'curl', '-s', '--unix-socket', "$folder/pivotal-sync-scheduler.sock",
        'http://localhost/metrics'))[1] =~ /^$metric\{$label="$value"\} \d/m;
});

# ---- TLS in front ----
SKIP: {
    skip 'caddy or curl is not installed', 1 unless have('caddy') && have('curl');
    my $home = $rig->dir . '/caddy';
    mkdir $home;
    my %env = (PATH => $ENV{PATH}, HOME => $home, XDG_DATA_HOME => $home, XDG_CONFIG_HOME => $home,
        HTTP_PORT => $port{http}, WEBHOOK_DOMAIN => "localhost:$port{https}",
        ADMIN_DOMAIN => "admin.localhost:$port{https}",
        WEBHOOK_UPSTREAM => $rig->gateway =~ s{^http://}{}r, ADMIN_UPSTREAM => "127.0.0.1:$port{admin}");
    $rig->{pids}{caddy} = $rig->spawn('caddy', ['caddy', 'run', '--config',
        "$root/deploy/caddy/Caddyfile", '--adapter', 'caddyfile'], env => \%env);
    my $ca = "$home/caddy/pki/authorities/local/root.crt";
    my $curl = sub {
        my (@more) = @_;
        my ($rc, $out) = Psync::run_argv(undef, undef, 'curl', '-sS', '--max-time', 15, '--cacert', $ca,
            '--resolve', "admin.localhost:$port{https}:127.0.0.1", '-o', '/dev/null', '-w',
            '%{http_code}', @more);
        return $rc == 0 ? $out : "curl $rc";
    };
    my $post = sub {
        my ($delivery) = @_;
        my ($body, $headers, $to) = @$delivery;
        my $file = $rig->secret_file('body', $body);
        return $curl->('--data-binary', "\@$file", map({ ('-H', "$_: $headers->{$_}") } sort keys %$headers),
            $to);
    };
    wait_for('the proxy has its certificate', 60, sub { -e $ca && $curl->("$url/") eq '404' });
    $rig->connect_hubspot;
    is($rig->run_now('hubspot'), 0, 'HubSpot is mirrored');
    my ($company) = map { ref $_ ? $_->{id} : $_ } @{$rig->sim_hubspot(GET => 'companies?list=42&ids=1')};
    $rig->sim_hubspot(PATCH => "companies/$company", {properties => {name => 'Through TLS'},
        notify => JSON::PP::false});
    my $events = $rig->hubspot_events({objectId => 0 + $company, propertyName => 'name',
        propertyValue => 'Through TLS'});
    is($post->($rig->hubspot_delivery($events, url => "$url/webhooks/hubspot")), 200,
        'a delivery that is signed for the public address is taken');
    is($post->($rig->hubspot_delivery($events, url => "$url/webhooks/hubspot",
        signed_url => $rig->gateway . '/webhooks/hubspot')), 401, 'one for the address behind is not');
    wait_for('and its record is fetched', 20, sub {
        $rig->value("select count(*) from psync.record where record_id = '$company'"
            . " and raw::text like '%Through TLS%'");
    });
    is($curl->("$url/readyz"), 404, 'nothing but deliveries passes');
    is($curl->("https://admin.localhost:$port{https}/admin/integrations"), 200, 'the page is beside it');
    my ($token) = $rig->must('token', 'create', '--role', 'viewer') =~ /(\S+)/;
    is($curl->('-H', "Authorization: Bearer $token",
        "https://admin.localhost:$port{https}/api/v1/connections"), 200, 'with its API');
}

# ---- the login of the dashboards ----
my ($host, $user) = map { $rig->{database_url} =~ /[?&]$_=([^&]+)/ } qw(host user);
my ($database) = $rig->{database_url} =~ m{^\w+://[^/]*/([^?]+)};
my %env = (%ENV, PGHOST => $host, PGUSER => $user, PGDATABASE => $database);
my ($rc, $out, $err) = Psync::run_argv({%env, DASHBOARDS_PASSWORD => ''}, undef, 'sh',
    "$root/deploy/dashboards-login");
isnt($rc, 0, 'without a password there is no login');
like($err, qr/DASHBOARDS_PASSWORD/, 'which is said');
for my $time (qw(once twice)) {
    ($rc, $out, $err) = Psync::run_argv({%env, DASHBOARDS_PASSWORD => "it's"}, undef, 'sh',
        "$root/deploy/dashboards-login");
    is($rc, 0, "made $time") or diag($err);
}
my $as = sub {
    my ($sql) = @_;
    my (undef, $text, $said) = Psync::run_argv({%env, PGUSER => 'dashboards', PGPASSWORD => "it's"},
        undef, 'psql', '-XqAt', '-c', $sql);
    return "$text$said";
};
like($as->('select count(*) from psync_bi.connection_status'), qr/^\d/, 'it reads the views');
like($as->('select count(*) from psync.credential'), qr/permission denied/, 'and nothing else');
$rig->value('drop owned by dashboards; drop role dashboards');
done_testing;
