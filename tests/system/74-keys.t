#!/usr/bin/perl
# A new key for the credentials: online, killed at every row, gone on with, and nothing readable by
# the old key alone afterwards, which a worker that has only that one tells.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use MIME::Base64 qw(encode_base64);
use Psync;
use Test::More;

use constant ROWS => 6;

my $rig = Psync->new(sim => [qw(--companies 2 --list-members 2 --contacts 0 --customers 2)],
    no_workspace => 1);
my ($old, $new) = map { encode_base64($_ x 32, '') } qw(k n);
for my $i (1 .. ROWS) {
    $rig->must('workspace', 'add', "w$i");
    $rig->must('connection', 'connect', 'stripe', '-w', "w$i", '--token-file',
        $rig->secret_file('stripe', Psync::STRIPE_KEY), '--webhook-secret-file',
        $rig->secret_file('hook', Psync::STRIPE_SECRET));
}
my $crash = $rig->dir . '/crash';
mkdir $crash;

sub with_keys {
    my ($keys, @words) = @_;
    local $rig->{settings}{SECRET_KEY} = $keys;
    local $rig->{settings}{TEST_CRASH_DIR} = $crash;
    return $rig->cmd(@words);
}
# A row is readable when a call with its token is answered.
sub readable {
    my ($keys) = @_;
    my $n = 0;
    for my $i (1 .. ROWS) {
        my ($code, $out, $err) = with_keys($keys, 'mapping', 'validate', 'stripe', '-w', "w$i",
            $rig->{mapping});
        $n += $code == 0;
    }
    return $n;
}
sub new_rows { # sealed by the new key: another key id than at first
    return $rig->value("select count(*) from psync.credential
        where substr(access_token, 2, 4) <> '$rig->{key_id}'::bytea");
}
$rig->{key_id} = $rig->value('select substr(access_token, 2, 4) from psync.credential limit 1');
$rig->{mapping} = $rig->secret_file('mapping',
    $rig->must('mapping', 'show', 'stripe', '-w', 'w1', '-o', 'json'));

is readable($old), ROWS, 'every credential opens with the old key';
my ($killed, $sealed) = (0, 0);
for my $row (1 .. ROWS) {
    for my $point (qw(keys.row keys.written)) {
        open my $f, '>', "$crash/$point" or die;
        close $f;
        my ($code) = with_keys("$new,$old", 'keys', 'rotate');
        $killed++ if $code == 128 + 9;
        my $now = new_rows();
        ok $now >= $sealed, "killed at $point of row $row: what was sealed stays so ($now)";
        $sealed = $now;
        is readable("$new,$old"), ROWS, 'and every row is readable';
        last if $sealed == ROWS;
    }
}
cmp_ok $killed, '>=', ROWS, "it was killed $killed times";
unlink glob "$crash/*";
my ($code, $out, $err) = with_keys("$new,$old", 'keys', 'rotate', '-o', 'json');
is $code, 0, 'in the end it ends' or diag $err;
is new_rows(), ROWS, 'every row is sealed with the new key';
is readable($new), ROWS, 'and opens with it alone';
is readable($old), 0, 'and with the old one no more';
is json->decode((with_keys("$new,$old", 'keys', 'rotate', '-o', 'json'))[1])->{sealed}, 0,
    'a second time has nothing to do';
isnt +(with_keys($old, 'keys', 'rotate'))[0], 0, 'without the key that sealed them it says so';
is $rig->value("select count(*) from psync.credential where array_length(webhook_secrets, 1) = 1
    and substr(webhook_secrets[1], 2, 4) = '$rig->{key_id}'::bytea"), 0,
    'the secrets of webhooks were sealed anew too';

# ---- programs that were started with the old key: the page tells, and nothing is lost ----
my $told = q{from psync_bi.sync_log l join psync_bi.connection_status c using (connection_id)
    where workspace = 'w1' and error_code = 'config_error'};
{
    local $rig->{settings}{SECRET_KEY} = $old;
    $rig->start('worker');
    wait_for('its work is given back, and again', 20,
        sub { (() = $rig->log_text('worker') =~ /connection 1: .*units wait/g) > 3 });
    $rig->stop('worker');
}
is $rig->value("select count(*) $told"), 1, 'one row of the connection\'s log says so';
like $rig->value("select error_message $told"), qr/sealed with key \w+, which is not in SECRET_KEY/,
    'with the reason';
like +(with_keys($old, 'diagnose', 'stripe', '-w', 'w1'))[2], qr/which is not in SECRET_KEY/,
    'as the checks do';
$rig->{settings}{SECRET_KEY} = $new;
$rig->start('worker', 'scheduler');
wait_for('with the right key the work goes on', 30, sub {
    $rig->value("select count(*) from psync.run where status = 'succeeded'") == ROWS;
});
wait_for('and the row is resolved', 30, sub { $rig->value("select bool_and(resolved) $told") eq 't' });

done_testing;
