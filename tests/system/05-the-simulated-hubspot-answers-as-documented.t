#!/usr/bin/perl
# The simulator itself is tested here: what the product's tests rely on must hold first.
use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_base64 sha256_hex);
use FindBin;
use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep time);

my $bin = $ENV{PIVOTAL_SYNC_SIM} // "$FindBin::Bin/../../build/bin/pivotal-sync-sim";
plan skip_all => "$bin is not built" if !-x $bin;

my $json  = JSON::PP->new->canonical->allow_nonref;
my $http  = HTTP::Tiny->new(timeout => 10, max_redirect => 0);
my $token = 'pat-na1-sim-00000000-0000-0000-0000-000000000001';

my $pid = open(my $out, '-|', $bin, '--seed', '7') or die "cannot start $bin: $!";
my $hubspot = $json->decode(scalar <$out>)->{hubspot};
my @children = ($pid);

# One call by the product: status, decoded body (or text), headers.
sub call {
    my ($method, $path, $body, %more) = @_;
    my %headers = (Authorization => 'Bearer ' . ($more{token} // $token), %{ $more{headers} // {} });
    my %args = (headers => \%headers);
    if ($more{form}) {
        $args{content} = $http->www_form_urlencode($more{form});
        $headers{'Content-Type'} = 'application/x-www-form-urlencoded';
    } elsif (defined $body) {
        $args{content} = $json->utf8->encode($body);
        $headers{'Content-Type'} = 'application/json';
    }
    my $r = $http->request($method, "$hubspot$path", \%args);
    my $decoded = eval { JSON::PP->new->utf8->decode($r->{content}) };
    return ($r->{status}, $decoded // $r->{content}, $r->{headers});
}

sub control {
    my ($method, $path, $body) = @_;
    my ($status, $answer) = call($method, "/_sim/$path", $body);
    return wantarray ? ($status, $answer) : $answer;
}

sub settings { control('PATCH', 'hubspot/1234567', { settings => {@_} }) }
sub reset_all { control('DELETE', 'faults'); control('POST', 'counters/reset'); }

# A receiver in a process of its own: answers the statuses in turn, the last one for ever, and
# tells what came, a JSON line each.
sub receiver {
    my (@statuses) = @_;
    my $listen = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', ReuseAddr => 1)
        or die "cannot listen: $!";
    pipe(my $read, my $write) or die "cannot make a pipe: $!";
    my $test = $$;
    my $child = fork() // die "cannot fork: $!";
    if ($child == 0) {
        $write->autoflush(1);
        # It ends with the test, however that ends.
        local $SIG{ALRM} = sub { exit 0 if getppid() != $test; alarm 1; };
        alarm 1;
        while (1) {
            my $c = $listen->accept or next;
            my ($head, $body) = ('', '');
            while (my $line = <$c>) { last if $line =~ /^\r?\n$/; $head .= $line; }
            my ($length) = $head =~ /^content-length:\s*(\d+)/im;
            read $c, $body, $length // 0;
            my $status = @statuses > 1 ? shift @statuses : $statuses[0];
            print $c "HTTP/1.1 $status X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            close $c;
            my %h = map { /^([^:]+):\s*(.*?)\r?$/ ? (lc $1, $2) : () } split /\n/, $head;
            print $write $json->ascii->encode({ headers => \%h, body => $body }), "\n";
        }
        exit 0;
    }
    push @children, $child;
    return ('http://127.0.0.1:' . $listen->sockport . '/webhooks/hubspot', $read);
}

subtest 'a rolling window lets exactly the limit through' => sub {
    my %n;
    for (1 .. 113) { my ($s) = call('GET', '/crm/owners/2026-03'); $n{$s}++; }
    is_deeply(\%n, { 200 => 110, 429 => 3 }, '110 in ten seconds');
    my (undef, $body, $headers) = call('GET', '/crm/owners/2026-03');
    is($body->{policyName}, 'TEN_SECONDLY_ROLLING', 'the policy is named');
    is($headers->{'x-hubspot-ratelimit-remaining'}, 0, 'nothing remains');
    my @s = map { (call('POST', '/crm/objects/2026-03/companies/search', {}))[0] } 1 .. 7;
    is(scalar(grep { $_ == 200 } @s), 5, 'search has five a second of its own');
    my $c = control('GET', 'counters');
    is($c->{hubspot}{violations}, 6, 'each refusal is a violation');
    is($c->{peaks}{'hubspot:1234567:general'}{peak}, 114, 'the peak counts arrivals');
};
settings(limit_general => 0, limit_search => 0, limit_associations => 0);
reset_all();

subtest 'pages hold every record once' => sub {
    my ($after, @ids) = ('');
    for (1 .. 10) {
        my (undef, $page) = call('GET', "/crm/v3/objects/companies?limit=75$after");
        push @ids, map { $_->{id} } @{ $page->{results} };
        my $next = $page->{paging}{next}{after} // last;
        $after = "&after=$next";
    }
    my %seen = map { $_ => 1 } @ids;
    is(scalar(@ids), 200, '200 companies');
    is(scalar(keys %seen), 200, 'none twice');
    is((call('GET', "/crm/objects/2026-03/companies?$_"))[0], 400, "$_ is refused")
        for qw(limit=0 limit=101 after=x);
};

subtest 'a list is paged in both orders' => sub {
    my $want = control('GET', 'hubspot/1234567/lists/42/members')->{members};
    for my $order ('', '/join-order') {
        my ($after, @ids, @times) = ('');
        for (1 .. 10) {
            my (undef, $page) =
                call('GET', "/crm/lists/2026-03/42/memberships$order?limit=60$after");
            push @ids, map { $_->{recordId} } @{ $page->{results} };
            push @times, map { $_->{membershipTimestamp} } @{ $page->{results} };
            my $next = $page->{paging}{next}{after} // last;
            $after = "&after=$next";
        }
        is_deeply([sort @ids], [sort @$want], "memberships$order holds the list");
        my @sorted = sort @times;
        is_deeply(\@times, \@sorted, 'in the order of joining') if $order;
    }
    is((call('GET', '/crm/lists/2026-03/999'))[0], 404, 'a list that is not there');
};

subtest 'batch read tells which ids are gone' => sub {
    my $body = { inputs => [map { { id => "$_" } } 10000001009, 7], properties => ['name', 'nosuch', 'last_call_at'] };
    my ($status, $answer) = call('POST', '/crm/objects/2026-03/companies/batch/read', $body);
    is($status, 207, '207');
    is_deeply($answer->{errors}[0]{context}{ids}, ['7'], 'the missing id');
    my $p = $answer->{results}[0]{properties};
    ok(exists $p->{last_call_at} && !defined $p->{last_call_at}, 'defined without value: null');
    ok(!exists $p->{nosuch}, 'undefined: left out');
    settings(batch_missing => 'absent');
    is((call('POST', '/crm/objects/2026-03/companies/batch/read', $body))[0], 200, 'or just absent');
    settings(batch_missing => '207');
    is(control('GET', 'counters/id/companies/7')->{count}, 2, 'calls that named the id');
};

subtest 'search keeps its bounds and its lag' => sub {
    my $search = sub { call('POST', '/crm/objects/2026-03/companies/search', $_[0]) };
    is(($search->({ limit => 201 }))[0], 400, 'at most 200');
    is(($search->({ after => '9990', limit => 20 }))[0], 400, 'nothing past 10,000');
    is(($search->({ properties => ['x' x 3000] }))[0], 400, 'at most 3,000 characters');
    settings(search_delay_ms => 600);
    my $since = int(time * 1000) - 50;
    control('PATCH', 'hubspot/1234567/companies/10000002018', { properties => { plan => 'lag' } });
    my $q = { filterGroups => [{ filters => [{ propertyName => 'hs_lastmodifieddate',
        operator => 'GTE', value => "$since" }] }] };
    is(($search->($q))[1]{total}, 0, 'a fresh change is not in the index');
    my ($total, $deadline) = (0, time + 30);
    while (time < $deadline && !($total = ($search->($q))[1]{total})) { sleep 0.05 }
    is($total, 1, 'a little later it is');
    settings(search_delay_ms => 0);
};

subtest 'a delivery is signed, retried, and kept in the log' => sub {
    my ($url, $came) = receiver(500, 404, 200);
    control('POST', 'webhooks/config', { retry_factor => 0.0005, hubspot => { url => $url,
        public_url => 'https://gw.example.com/webhooks/hubspot', client_secret => 's3cret' } });
    control('PATCH', 'hubspot/1234567/companies/10000003027', { properties => { plan => 'pro' } });
    is((control('POST', 'webhooks/flush', {}))[0], 200, 'nothing is pending any more');
    my @got = map { $json->decode(scalar <$came>) } 1 .. 3;
    my $last = $got[2];
    my $at = $last->{headers}{'x-hubspot-request-timestamp'};
    my $v3 = hmac_sha256_base64("POSThttps://gw.example.com/webhooks/hubspot$last->{body}$at", 's3cret');
    is($last->{headers}{'x-hubspot-signature-v3'}, "$v3=", 'v3 over the public URL');
    is($last->{headers}{'x-hubspot-signature'}, sha256_hex("s3cret$last->{body}"), 'v1');
    my $event = $json->decode($last->{body})->[0];
    is_deeply([@$event{qw(subscriptionType objectId propertyName propertyValue attemptNumber)}],
        ['company.propertyChange', 10000003027, 'plan', 'pro', 2], 'the third attempt');
    is_deeply([map { $_->{status} } @{ control('GET', 'webhooks/log')->{attempts} }],
        [500, 404, 200], 'the log of attempts');
    control('POST', 'webhooks/config', { hubspot => { disabled => JSON::PP::true } });
};

subtest 'people archive, restore and merge' => sub {
    my $p = 'hubspot/1234567/companies';
    my $read = sub { (call('GET', "/crm/objects/2026-03/companies/$_[0]"))[0] };
    control('DELETE', "$p/10000002018");
    is($read->(10000002018), 404, 'archived');
    control('POST', "$p/10000002018/restore", {});
    is($read->(10000002018), 200, 'restored');
    my $r = control('POST', "$p/merge", { primary => '10000002018', merged => ['10000003027'], new_id => JSON::PP::true });
    isnt($r->{id}, '10000002018', 'a merge may make a new record');
    is($read->(10000003027), 404, 'the loser is gone');
    settings(merged_reads => 'winner');
    is((call('GET', '/crm/objects/2026-03/companies/10000003027'))[1]{id}, $r->{id}, 'or is the winner');
};

subtest 'faults meet the request they name' => sub {
    control('POST', 'faults', { path => '/crm/', error => 'migration' });
    my ($status, undef, $headers) = call('GET', '/crm/owners/2026-03');
    is("$status $headers->{'retry-after'}", '477 3600', 'an error by its name');
    control('POST', 'faults', { path => '/crm/', truncate_bytes => 10 });
    my (undef, $cut, $said) = call('GET', '/crm/owners/2026-03');
    ok(length $cut < $said->{'content-length'}, 'a cut body under the full length') if !ref $cut;
    control('POST', 'faults', { path => '/crm/', reset => JSON::PP::true });
    is((call('GET', '/crm/owners/2026-03'))[0], 599, 'a reset connection');
    control('PATCH', 'hubspot/1234567/companies/10000005045', { raw_hex => { city => '22ff22' } });
    my (undef, $text) = call('GET', '/crm/objects/2026-03/companies/10000005045?properties=city');
    like($text, qr/"city":"\xff"/, 'bytes that are no UTF-8');
    control('PATCH', 'hubspot/1234567/companies/10000005045', { raw_hex => {} });
    reset_all();
};

subtest 'an OAuth walk, its token, and its end' => sub {
    my $uri = 'http://localhost:1/cb';
    my $walk = sub {
        my $r = $http->get("$hubspot/oauth/1234567/authorize?client_id=sim-hubspot-client&redirect_uri=http%3A%2F%2Flocalhost%3A1%2Fcb"
            . '&scope=oauth%20crm.objects.companies.read&state=a%20b');
        return $r->{headers}{location};
    };
    my ($code) = $walk->() =~ m{^\Q$uri\E\?code=([^&]+)&state=a%20b$} or fail('the redirect');
    my %app = (client_id => 'sim-hubspot-client', client_secret => 'sim-hubspot-secret');
    my $ask = sub { (call('POST', '/oauth/2026-03/token', undef, form => { %app, @_ }))[1] };
    my @grant = (grant_type => 'authorization_code', code => $code, redirect_uri => $uri);
    my $t = $ask->(@grant);
    is($t->{hub_id}, 1234567, 'a token of the account');
    is($ask->(@grant)->{status}, 'BAD_AUTH_CODE', 'a code works once');
    is((call('GET', '/crm/objects/2026-03/companies', undef, token => $t->{access_token}))[0], 200, 'it reads');
    my ($status, $body) = call('GET', '/crm/owners/2026-03', undef, token => $t->{access_token});
    is_deeply($body->{errors}[0]{context}{requiredGranularScopes}, ['crm.objects.owners.read'], 'the scope that is missing');
    my @refresh = (grant_type => 'refresh_token', refresh_token => $t->{refresh_token});
    is($ask->(@refresh)->{refresh_token}, $t->{refresh_token}, 'a refresh leaves the refresh token');
    control('POST', 'hubspot/1234567/user_removed', {});
    is($ask->(@refresh)->{status}, 'BAD_REFRESH_TOKEN', 'the installing user is gone');
    ($code) = $walk->() =~ /code=([^&]+)/;
    ok($ask->(grant_type => 'authorization_code', code => $code, redirect_uri => $uri)->{access_token}, 'a new walk mends it');
    control('POST', 'clock', { offset_ms => 1900 * 1000 });
    is((call('GET', '/crm/objects/2026-03/companies', undef, token => $t->{access_token}))[1]{category}, 'EXPIRED_AUTHENTICATION', 'tokens expire');
    control('POST', 'clock', { offset_ms => 0 });
};

subtest 'the same seed changes the same things' => sub {
    my @truth = map {
        my $p = open(my $o, '-|', $bin, '--seed', $_) or die "cannot start: $!";
        push @children, $p;
        my $url = $json->decode(scalar <$o>)->{hubspot};
        $http->post("$url/_sim/mutate", { content => '{"n":200,"provider":"hubspot"}' });
        my $text = $http->get("$url/_sim/hubspot/1234567/companies?properties=plan,arr,city,lifecyclestage")->{content};
        kill 'TERM', $p;
        $text =~ s/"(?:updatedAt|createdAt|createdate|hs_lastmodifieddate)":"[^"]*"//g;
        $text;
    } 3, 3, 4;
    ok($truth[0] eq $truth[1], 'seed 3 twice');
    ok($truth[0] ne $truth[2], 'seed 4 differs');
};

kill 'TERM', @children;
waitpid $_, 0 for @children;
done_testing();
