# Stands in for the official PostgreSQL image where no registry can be reached: the same variables, folders and user.
ARG BASE
FROM ${BASE}
RUN groupadd --system --gid 999 postgres \
 && useradd --system --uid 999 --gid 999 --home-dir /var/lib/postgresql postgres \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends postgresql \
 && rm -rf /var/lib/apt/lists/* /var/lib/postgresql/* /etc/postgresql \
 && install --directory --owner=postgres --group=postgres --mode=1777 /var/lib/postgresql/data \
 && install --directory --owner=postgres --group=postgres --mode=3777 /var/run/postgresql
COPY postgres_entrypoint.sh /usr/local/bin/
ENV PATH=/usr/lib/postgresql/15/bin:$PATH
USER postgres
ENTRYPOINT ["bash", "/usr/local/bin/postgres_entrypoint.sh"]
