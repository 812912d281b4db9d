#!/usr/bin/perl
# The lines of the programs' logs: one JSON object each with the keys of OpenTelemetry's log model,
# an attempt by the id under which the page, the command and SQL know it; never what a provider
# answered, a token or an e-mail, also with everything switched on.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(sim => [qw(--companies 12 --list-members 10 --contacts 4 --customers 8)],
    settings => {LOG_FORMAT => 'json', LOG_LEVEL => 'debug', ADMIN_LISTEN => 'unix:/unset'});
$rig->{settings}{ADMIN_LISTEN} = 'unix:' . $rig->dir . '/admin.sock';
$rig->start(qw(webhook-gw scheduler worker admin));
$rig->connect_hubspot(hooks => 1);
is $rig->run_now('hubspot'), 0, 'HubSpot is mirrored';
$rig->connect_stripe(hooks => 1);
$rig->run_now('stripe');
my @company = @{$rig->sim_hubspot(GET => 'companies?list=42&ids=1')};

# ---- a delivery, a record that fails, one that the provider refuses, a wrong signature ----
$rig->sim_hubspot(PATCH => "companies/$company[0]",
    {properties => {name => 'Canary Holdings', annualrevenue => '1,2 Mio'}});
my $refused = $rig->fault(provider => 'hubspot', contains => $company[1], status => 400, times => 4,
    body => json->encode({status => 'error', message => 'ask canary@holdings.example',
        category => 'VALIDATION_ERROR'}));
$rig->cmd('resync', 'hubspot', $company[1], '--wait', '--timeout', '30s');
$rig->sim(DELETE => "faults/$refused");
$rig->deliver_stripe($rig->stripe_event('customer.updated', {id => 'cus_1'}), secret => 'wrong');
my $failed;
wait_for('one record has an error', 20, sub {
    ($failed) = $rig->rows("select attempt_id, error_code, provider_request_id, started_at
        from psync_bi.sync_log where record_id = '$company[0]' and error_code = 'map_type_mismatch'");
    return $failed;
});
my ($good) = $rig->rows("select attempt_id, run_id, provider_request_id, http_status
    from psync_bi.sync_log where kind = 'chunk' and object_type = 'company'
    and status = 'succeeded' order by attempt_id limit 1");
$rig->stop($_) for qw(webhook-gw scheduler worker admin);

# ---- every line ----
my (%line, @odd, @lines);
for my $program (qw(webhook-gw scheduler worker admin)) {
    my $text = $rig->log_text($program);
    ok length $text, "$program has said something";
    push @lines, split /\n/, $text;
}
for my $text (@lines) {
    my $line = eval { json->decode($text) };
    if (ref $line ne 'HASH') {
        push @odd, "no object: $text";
        next;
    }
    push @odd, "time: $text" unless ($line->{timestamp} // '') =~ /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
    push @odd, "severity: $text" unless ($line->{severity_text} // '') =~ /^(?:debug|info|warn|error)$/
        && ($line->{severity_number} // 0) == {debug => 5, info => 9, warn => 13, error => 17}->{$line->{severity_text}};
    push @odd, "body: $text" unless length($line->{body} // '') && ($line->{'service.name'} // '') eq 'pivotal-sync';
    push @odd, "event: $text" unless ($line->{'event.name'} // '') =~ /^[a-z_]+(?:\.[a-z_]+)+$/;
    push @odd, "key $_: $text" for grep { !/^(?:timestamp|severity_text|severity_number|body
        |event\.name|service\.name|error\.type|exception\.\w+|pivotal_sync\.[a-z_]+
        |(?:http|url|server|client|network|db|messaging|process|user_agent)\.[a-z_.]+)$/x } keys %$line;
    $line{$line->{'pivotal_sync.attempt_id'}} = $line
        if ($line->{'event.name'} // '') eq 'sync.attempt.finished';
}
is join("\n", @odd[0 .. ($#odd < 4 ? $#odd : 4)]), '', 'every line is an object with its keys';

# ---- the same ids everywhere ----
my $said = $line{$failed->{attempt_id}};
ok $said, 'the failed attempt has its line' or diag join "\n", sort keys %line;
is $said->{'error.type'}, 'map_type_mismatch', 'with its error type';
is $said->{'pivotal_sync.record_id'}, $company[0], 'its record';
is $said->{'pivotal_sync.provider'}, 'hubspot', 'its provider';
is $said->{severity_text}, 'info', 'without debug, too';
like $said->{'pivotal_sync.duration_ms'}, qr/^\d+$/, 'and how long it took';
my $shown = $rig->cmd_json('show', $failed->{attempt_id});
is $shown->{error_code}, $said->{'error.type'}, 'the command knows it by the same id';
ok length $failed->{provider_request_id}, 'and by the id that the provider gave the call';
is $shown->{provider_request_id}, $failed->{provider_request_id}, 'as the view says';
like $rig->must('show', $failed->{attempt_id}), qr/\Q$failed->{provider_request_id}\E/, 'and the text';
my $chunk = $line{$good->{attempt_id}};
is $chunk->{'pivotal_sync.run_id'}, $good->{run_id}, 'a page of a run names its run';
is $chunk->{severity_text}, 'debug', 'what succeeds is said when everything is asked for';
ok length $good->{provider_request_id}, 'and has the id of its call as well';
is $good->{http_status}, 200, 'and its status';
is $rig->value("select count(*) from psync_bi.sync_log where provider = 'stripe'
    and http_status is not null and provider_request_id = ''"), 0,
    "every answer of Stripe's has its request id";

# ---- what must not be there ----
my $all = join "\n", @lines;
my %never = ('an e-mail' => qr/[\w.+-]+@[\w-]+\.\w+/, 'a name' => qr/Canary Holdings/,
    'a value' => qr/1,2 Mio/, 'a body' => qr/\\?"(?:properties|correlationId|object)\\?"\s*:/,
    'a token' => qr/\b(?:pat-na1|sk_|rk_|whsec_)\w+|Bearer /);
unlike $all, $never{$_}, "$_ is in no line" for sort keys %never;
done_testing;
