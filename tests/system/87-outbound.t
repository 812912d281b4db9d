#!/usr/bin/perl
# Where calls may go: https only, to a certificate that holds, to no private address whatever the
# name resolves to, and where they were sent, not where an answer points. What was refused is said
# in the row of the log.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Select;
use IO::Socket::INET;
use Psync;
use Test::More;

plan skip_all => 'no openssl command' if system('command -v openssl >/dev/null 2>&1') != 0;
my $tools = Psync::root() . '/build/tools';
my $rig = Psync->new(sim => ['--companies', 5, '--contacts', 0, '--customers', 5]);
$rig->start(qw(webhook-gw scheduler));
$rig->connect_stripe;
my ($customer) = map { ref $_ ? $_->{id} : $_ } @{$rig->sim_stripe(GET => 'customers?ids=1')};
my ($sim_port) = $rig->{stripe} =~ /:(\d+)$/;

# ---- certificates of our own authority ----
my $folder = $rig->dir . '/tls';
mkdir $folder;

sub openssl {
    my ($words) = @_;
    return system("cd '$folder' && openssl $words >>openssl.log 2>&1") == 0;
}

my $key = '-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes';
openssl("req -x509 $key -days 2 -subj /CN=authority -keyout ca.key -out ca.pem")
    or BAIL_OUT('openssl makes no certificate');

sub certificate {
    my ($name, $for, @dates) = @_;
    openssl("req $key -subj /CN=$name -addext subjectAltName=DNS:$for -keyout $name.key -out $name.csr")
        or BAIL_OUT("openssl makes no request for $name");
    my $sign = "x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -copy_extensions copy"
        . " -out $name.pem";
    openssl("$sign $_") and return for @dates;
    BAIL_OUT("openssl signs nothing for $name");
}

certificate('good', 'api.stripe.test', '-days 2');
certificate('other', 'somebody-else.test', '-days 2');
# Which of the two it takes depends on its version.
certificate('old', 'api.stripe.test', '-days -1',
    '-not_before 20200101000000Z -not_after 20200201000000Z');

# The simulator behind TLS: the port.
sub front {
    my ($name) = @_;
    my $out = "$folder/$name.port";
    $rig->{pids}{"tls-$name"} = $rig->spawn("tls-$name", ["$tools/tls_front", "$folder/$name.pem",
        "$folder/$name.key", $sim_port], out => $out);
    return wait_for("a server with the certificate '$name'", 15, sub {
        open my $f, '<', $out or return;
        return (<$f> // '') =~ /^(\d+)\n/ ? $1 : undef;
    });
}

my %port = map { $_ => front($_) } qw(good other old);

# ---- one call with these settings: its row of the log ----
my %production = (ALLOW_PRIVATE_PROVIDER_HOSTS => 'off', PROVIDER_CA_FILE => "$folder/ca.pem");
my %tests = (ALLOW_PRIVATE_PROVIDER_HOSTS => 'on', PROVIDER_CA_FILE => "$folder/ca.pem");
my $names = 'api.stripe.test=127.0.0.1 metadata.stripe.test=169.254.169.254'
    . ' inside.stripe.test=10.1.2.3 six.stripe.test=::1 mapped.stripe.test=::ffff:127.0.0.1';

sub call {
    my ($base, %settings) = @_;
    my $last = $rig->value('select coalesce(max(attempt_id), 0) from psync.attempt');
    {
        local $rig->{settings} = {%{$rig->{settings}}, %settings, STRIPE_API_BASE => $base};
        Psync::below('names', {PSYNC_TEST_NAMES => $names}, sub { $rig->start('worker') });
    }
    $rig->cmd('resync', 'stripe', $customer);
    my $row;
    Psync::until_true(9, sub {
        ($row) = $rig->rows('select status, error_code, error_message from psync.attempt'
            . " where attempt_id > $last and record_id = '$customer' order by attempt_id");
        return $row;
    });
    $rig->stop('worker', 'KILL');
    $rig->redis('flushall');    # pauses and what waits are forgotten
    return $row // {status => 'no row', error_code => '', error_message => ''};
}

sub refused {
    my ($what, $code, $text, @call) = @_;
    my $row = call(@call);
    is $row->{error_code}, $code, $what;
    like $row->{error_message}, $text, "and the row says: $row->{error_message}";
    return;
}

# ---- TLS ----
my $row = call("https://api.stripe.test:$port{good}", %tests);
# Stale: answered, and overtaken by another fetch of the same record.
is $row->{status} =~ /^(succeeded|partial)$/ || $row->{error_code} eq 'stale_event' ? 1 : 0, 1,
    'a certificate of the named authority holds'
    or diag explain $row;
refused('one of an unknown authority does not', 'tls_failed', qr/unable to get local issuer/,
    "https://api.stripe.test:$port{good}", %tests, PROVIDER_CA_FILE => undef);
refused('nor one for another name', 'tls_failed', qr/no alternative certificate subject name/,
    "https://api.stripe.test:$port{other}", %tests);
refused('nor one that has run out', 'tls_failed', qr/certificate has expired/,
    "https://api.stripe.test:$port{old}", %tests);

# ---- private addresses, whatever the name ----
my $seen = $rig->calls_naming('customer', $customer);
for my $name (qw(api metadata inside six mapped)) {
    refused("the name $name resolves to a private address: no call", 'config_error',
        qr/private or reserved address/, "https://$name.stripe.test:$port{good}", %production);
}
refused('nor by plain http', 'config_error', qr/only https/,
    "http://api.stripe.test:$sim_port", %production);

is $rig->calls_naming('customer', $customer), $seen, 'none of these calls reached the provider';

# ---- where an answer points ----
my $elsewhere = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die "listen: $!";
my $away = 'http://127.0.0.1:' . $elsewhere->sockport . '/';
$rig->fault(provider => 'stripe', path => '/v1/customers', status => 302, times => -1,
    headers => {Location => $away}, body => '');
$row = call($rig->{stripe}, %tests);
isnt $row->{status}, 'succeeded', "a redirect is not followed: $row->{error_code}";
ok !IO::Select->new($elsewhere)->can_read(0), 'nobody called where it points';
done_testing;
