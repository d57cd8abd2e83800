# The project with everything that a tracking server or a worker of a sweep needs.
FROM python:3.13-slim

# Each run is tagged with the commit that it was made from.
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*
WORKDIR /project
COPY . .
RUN pip install --no-cache-dir -c constraints.txt -e '.[postgresql]' \
    && useradd --create-home worker && mkdir /artifacts && chown -R worker /project /artifacts
USER worker
