#!/usr/bin/perl
# The commands of whoever runs the installation: tokens, audit, check-config, doctor and the
# bundle for support, in which no secret and no value is.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use POSIX ();
use Psync;
use Test::More;

my $rig = Psync->new(sim => [qw(--companies 6 --list-members 6 --contacts 4 --customers 4)]);

# ---- tokens ----
{
    my ($code, $out, $err) = $rig->cmd(qw(token create --role operator --name anna));
    is $code, 0, 'token create';
    like $out, qr/\Apst_[\w-]{43}\n\z/, 'prints the token and nothing else';
    unlike $err, qr/pst_/, 'and says it nowhere else';
    chomp $out;
    is $rig->value("select count(*) from psync.admin_token t where t::text like '%$out%'"), 0,
        'the database holds no token';
    my $made = $rig->cmd_json(qw(token create --role viewer));
    like $made->{token}, qr/^pst_/, 'token create -o json has it too';
    is(($rig->cmd(qw(token create)))[0], 2, '2: without a role');
    is(($rig->cmd(qw(token create --role root)))[0], 2, '2: a role that does not exist');
    my ($anna, $viewer) = @{$rig->cmd_json(qw(token list))};
    is_deeply [@$anna{qw(role name revoked_at)}, $viewer->{role}], ['operator', 'anna', undef,
        'viewer'], 'token list';
    $rig->must('token', 'revoke', $anna->{token_id});
    ok $rig->cmd_json(qw(token list))->[0]{revoked_at}, 'a revoked token stays in the list';
    is(($rig->cmd(qw(token revoke 99)))[0], 3, '3: revoking a token that does not exist');
    is(($rig->cmd(qw(token revoke anna)))[0], 2, '2: revoking by name');
}

# ---- audit ----
{
    my @rows = @{$rig->cmd_json(qw(audit))};
    is_deeply [map { $_->{action} } @rows[0 .. 2]], [qw(token.revoke token.create token.create)],
        'audit, newest first';
    is scalar(@{$rig->cmd_json(qw(audit --action token.create))}), 2, 'by action';
    is scalar(@{$rig->cmd_json(qw(audit --actor nobody-here))}), 0, 'by person';
    is scalar(@{$rig->cmd_json(qw(audit --until 1h))}), 0, 'by time';
    unlike $rig->must(qw(audit -o wide)), qr/pst_/, 'no token in it';
}

# ---- check-config ----
{
    is(($rig->cmd('check-config'))[0], 0, 'check-config of sound settings');
    my $file = $rig->secret_file('conf', "DB_POOL=many\nLEESE_S=3\nLOG_LEVEL=loud\n");
    my ($code, $out, $err) = $rig->cmd('check-config', $file);
    is $code, 10, '10: a file with problems';
    like $out, qr/conf:1.*many/, 'the first, with file, line and value';
    like $out, qr/conf:2.*LEESE_S.*LEASE_S/, 'the second, with the nearest name';
    like $out, qr/conf:3.*loud/, 'and the third';
    $file = $rig->secret_file('conf', "DB_POOL=7\n");
    ($code, $out, $err) = $rig->cmd('check-config', $file, '--print');
    is $code, 0, 'a good file';
    like $out, qr/^DB_POOL=7  # .*conf:1$/m, '--print: the settings in force and where they are from';
    unlike $out . $err, qr/kkkk|a2tra/, 'and no part of a secret';
}

# ---- doctor ----
sub doctor {
    my (%settings) = @_;
    my $outside = delete $settings{outside};
    local @{$rig->{settings}}{keys %settings} = values %settings;
    my ($code, $out) = $rig->cmd('doctor', '-o', 'json', '--timeout', '60s',
        $outside ? ('--outside', $outside) : ());
    return ($code, map { $_->{check} => $_ } @{json->decode($out)});
}
$rig->start(qw(webhook-gw scheduler worker));
$rig->connect_hubspot(hooks => 1);
$rig->connect_stripe(hooks => 1);
{
    my ($code, %found) = doctor();
    my @ill = grep { $found{$_}{verdict} eq 'mend' } sort keys %found;
    # The server of the tests runs without fsync, which doctor sees.
    is "@ill", 'PostgreSQL durability', 'doctor of a sound installation, but for the tests\' fsync';
    is $code, 6, '6: something has to be mended';
    is_deeply [grep { $found{$_}{verdict} ne 'ok' && $found{$_}{mend} eq '' } sort keys %found], [],
        'each finding says what mends it';
    is $found{'Redis durability and eviction'}{verdict}, 'ok', 'Redis is durable';
    is $found{Migrations}{verdict}, 'ok', 'the database is of this version';
    is $found{'PostgreSQL rights'}{verdict}, 'ok', 'rights';
    is $found{'Clock and PostgreSQL'}{text}, 'they agree', 'clocks';
    ok $found{'Clock and Stripe'}, 'that of the providers too';
    like $found{'TLS to PostgreSQL'}{text}, qr/on this machine/, 'TLS to PostgreSQL';
    like $found{HubSpot}{text}, qr/answers in \d+ ms, without TLS/, 'providers';
    like $found{'Webhook URL'}{text}, qr/is ready/, 'webhook URL';
    my ($version) = $rig->redis('info', 'server') =~ /redis_version:(\S+)/;
    like $found{Redis}{text}, qr/^Redis \Q$version\E answers/, 'the version of Redis';
    ok !$found{'Webhook URL from outside'}, 'nobody outside is asked unless one is named';
}

# Somebody outside: fetches /?url=... and answers with the status of that.
{
    my $listen = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die "listen: $!";
    my $outside = 'http://127.0.0.1:' . $listen->sockport;
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        while (my $client = $listen->accept) {
            my ($url) = (<$client> // '') =~ m{^GET /\?url=(\S+) };
            $url =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ge;
            my $status = HTTP::Tiny->new(timeout => 5)->get($url)->{status};
            $status = 502 if $status == 599;
            print {$client} "HTTP/1.1 $status x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            close $client;
        }
        POSIX::_exit(0);
    }
    close $listen;
    my ($code, %found) = doctor(outside => "$outside/?url={url}");
    is $found{'Webhook URL from outside'}{verdict}, 'ok', 'the gateway is reached from outside';
    ($code, %found) = doctor(outside => "$outside/?url={url}", PUBLIC_URL => 'http://127.0.0.1:1');
    is $found{'Webhook URL from outside'}{verdict}, 'mend', 'what is not reached is found';
    like $found{'Webhook URL from outside'}{text}, qr/answer is 502/, 'with the answer';
    ($code, %found) = doctor(outside => $outside);
    like $found{'Webhook URL from outside'}{text}, qr/no \{url\}/, 'an address without a place for it';
    kill 'KILL', $pid;
    waitpid $pid, 0;
}
{
    $rig->redis(qw(config set maxmemory-policy allkeys-lru));
    $rig->redis(qw(config set appendfsync everysec));
    my ($code, %found) = doctor();
    is $found{'Redis eviction'}{verdict}, 'mend', 'eviction is found';
    like $found{'Redis eviction'}{mend}, qr/noeviction/, 'with its mend';
    is $found{'Redis durability'}{verdict}, 'mend', 'weak durability is found';
    $rig->redis(qw(config set maxmemory-policy noeviction));
    $rig->redis(qw(config set appendfsync always));
}
{
    $rig->value("create role doctor_$$ login");
    (my $url = $rig->{database_url}) =~ s/user=postgres/user=doctor_$$/;
    $rig->value("grant usage on schema psync, psync_bi to doctor_$$;
        grant select on all tables in schema psync, psync_bi to doctor_$$");
    my ($code, %found) = doctor(DATABASE_URL => $url);
    is $found{'PostgreSQL rights'}{verdict}, 'mend', 'missing rights are found';
    is $found{'PostgreSQL login'}{verdict}, 'ok', 'and that it is no superuser';
    $rig->value("drop owned by doctor_$$; drop role doctor_$$");
    ($code, %found) = doctor(DATABASE_URL => 'postgresql://127.0.0.1:1/x',
        REDIS_URL => 'redis://127.0.0.1:1', PUBLIC_URL => 'http://127.0.0.1:1',
        STRIPE_API_BASE => 'http://127.0.0.1:1', SECRET_KEY => undef);
    is $code, 6, 'what is away';
    is join(' ', grep { $found{$_}{verdict} eq 'mend' } sort keys %found),
        'PostgreSQL Redis Settings: SECRET_KEY Stripe Webhook URL', 'is found, each by itself';
    $rig->value('delete from psync.migration where name = (select max(name) from psync.migration
        where name ~ \'^\\d\')');
    ($code, %found) = doctor();
    is $found{Migrations}{verdict}, 'mend', 'a missing step is found';
    like $found{Migrations}{mend}, qr/pivotal-sync migrate/, 'with its mend';
}

# ---- support-bundle ----
{
    is $rig->run_now('hubspot'), 0, 'a full sync';
    my @members = @{$rig->sim(GET => 'hubspot/1234567/companies?list=42&ids=1')};
    my $canary = 'canary';
    $rig->sim_hubspot(PATCH => "companies/$members[0]", {properties => {name => "$canary-name",
        domain => "$canary-domain.example", annualrevenue => "$canary-value"}});
    $rig->cmd('resync', 'hubspot', $members[0], '--wait');
    $rig->value("update psync.connection set state_reason =
        'refused for $canary\@mail.example with sk_live_canary0000000000 and ' || state_reason");
    my $file = $rig->dir . '/bundle.json';
    my ($code, $out, $err) = $rig->cmd('support-bundle', $file, '--customer', 1);
    is $code, 0, 'support-bundle';
    is $out, "$file\n", 'says where it is';
    is sprintf('%o', (stat $file)[2] & 0777), '600', 'readable by its owner alone';
    my $text = do { local (@ARGV, $/) = ($file); <> };
    my $bundle = json->decode($text);
    is_deeply [grep { !exists $bundle->{$_} } qw(versions settings doctor database workspaces
        connections completeness runs attempts errors_daily webhooks records audit customer queue
        quota)], [], 'everything that is asked for is in it';
    unlike $text, qr/cannot_be_read/, 'and could be read';
    ok scalar(grep { $_->{error_code} eq 'map_type_mismatch' && $_->{record_id} eq $members[0] }
        @{$bundle->{attempts}}), 'the failed attempt, with its ids';
    unlike $text, qr/canary/, 'no name, domain, value, e-mail or key of the canary';
    my @secrets = (Psync::HUBSPOT_TOKEN, Psync::HUBSPOT_SECRET, Psync::STRIPE_KEY,
        Psync::STRIPE_SECRET, $rig->{settings}{SECRET_KEY});
    is scalar(grep { index($text, $_) >= 0 } @secrets), 0, 'none of the secrets';
    unlike $text, qr/[\w.]+\@[\w.]+\.\w/, 'no e-mail address at all';
    my ($name) = $rig->value("select fields ->> 'name' from psync.customer limit 1");
    is index($text, $name), -1, 'no name of a customer';
    is(($rig->cmd(qw(support-bundle - --since 1h)))[0], 0, 'to standard output');
}

done_testing;
