#!/usr/bin/perl
# Every block of the documents that is marked `sh run` is run here, line by line as a reader would
# type it, against the simulated providers; one that is marked `sh run by FILE` is run by that file.
# README has no command without such a mark.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Psync;
use Test::More;

my $root = Psync::root();
chdir $root or die;

# [file, line, what follows ```, text]
sub blocks {
    my ($file) = @_;
    open my $f, '<', $file or die "'$file': $!";
    my (@blocks, $open);
    while (my $line = <$f>) {
        if ($line =~ /^```(.*)$/) {
            if ($open) {
                push @blocks, $open;
                undef $open;
            }
            else {
                $open = [$file, $., $1, ''];
            }
        }
        elsif ($open) {
            $open->[3] .= $line;
        }
    }
    return @blocks;
}

my @documents = ('README.md', glob('docs/*.md CONTRIBUTING.md SECURITY.md PRIVACY.md'));
my %blocks = map { $_ => [blocks($_)] } grep { -e } @documents;

my @unmarked = grep { $_->[2] !~ /^sh run/
        && $_->[3] =~ /^\s*(?:\$ )?(?:make|pivotal-sync|git|docker|sudo|apt|psql|curl|systemctl)\b/m }
    @{$blocks{'README.md'}};
is(scalar(@unmarked), 0, 'README has no command that nobody runs')
    or diag(join "\n", map { "line $_->[1]: $_->[3]" } @unmarked);

for my $block (map { @$_ } @blocks{sort keys %blocks}) {
    my ($by) = $block->[2] =~ /^sh run by (\S+)/ or next;
    my ($last) = $block->[3] =~ /^(?:make|pivotal-sync) (\w+)/m;
    my $text = -e $by ? do { local (@ARGV, $/) = $by; <> } : '';
    like($text, qr/\b\Q$last\E\b/, "$block->[0]:$block->[1] is run by $by");
}

# ---- a machine like the reader's ----
for my $document (sort keys %blocks) {
    my @run = grep { $_->[2] eq 'sh run' } @{$blocks{$document}} or next;
    my $has_workspace = !grep { $_->[3] =~ /workspace add/ } @run;
    my $rig = Psync->new(no_workspace => !$has_workspace, settings => {QUEUE_SHARDS => 2},
        sim => ['--companies', 40, '--list-members', 30, '--contacts', 40, '--customers', 20]);
    my $dir = $rig->dir . '/reader';
    mkdir $dir;
    my %tokens = ('key.txt' => Psync::STRIPE_KEY, 'token.txt' => Psync::HUBSPOT_TOKEN);
    for my $name (keys %tokens) {
        open my $f, '>', "$dir/$name" or die "'$name': $!";
        print {$f} "$tokens{$name}\n";
        close $f;
    }
    my $second = $rig->another_redis('redis-2');
    $rig->start(qw(webhook-gw scheduler worker));
    my %env = ($rig->environment, DATABASE_URL => $rig->{database_url},
        PATH => Psync::bin() . ":$ENV{PATH}", HOME => $dir);
    for my $block (@run) {
        for my $line (split /\n/, $block->[3]) {
            next if $line =~ /^\s*(?:#|$)/;
            # What stands for the reader's own: ids of what the first full syncs brought.
            wait_for('the first full syncs are done', 60, sub {
                $rig->value("select count(*) from psync.run where status in ('queued', 'running')")
                    == 0 && $rig->idle;
            }) if $line =~ /cus_123|customer show 17/;
            my $typed = $line;
            $typed =~ s{redis://redis-2:6379}{$second->{url}};
            $typed =~ s{cus_123}{($rig->value("select min(record_id) from psync.record where"
                . " object_type = 'customer'"))}e;
            $typed =~ s{(customer show) 17}{"$1 " . $rig->value('select min(customer_id) from'
                . ' psync.customer')}e;
            my ($code, $out, $err) = Psync::run_argv(\%env, undef, 'sh', '-c', "cd '$dir' && $typed");
            # 6: done, and some records have errors of their own.
            ok($code == 0 || ($code == 6 && $typed =~ /--wait/), "$document:$block->[1]: $line")
                or diag("exit $code\n$out$err");
        }
    }
    $rig->stop($_) for qw(worker scheduler webhook-gw);
}
done_testing;
